// Command peers measures tally beside the programs that do the same job, and beside its limit, on
// one real Kafka and the same input, and writes docs/performance.md.
//
//	go run -pgo=$PWD/cmd/tally/default.pgo ./bench/cmd/peers [--work a,c]
//		[--peers kafka-streams,limit] [--scale 0.1]
//
// It builds tally, installs the peers into .cache/peers, and runs all works interleaved.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/seam"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	err := dispatch(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		_, usage, _ := strings.Cut(err.Error(), "\n")
		fmt.Print(usage)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(exitCode(err))
	}
}

// A usageError says that the command was called wrongly.
type usageError struct{ error }

// exitCode is 2 for a wrong call, and 1 for a run that failed or a row that is not sound.
func exitCode(err error) int {
	if _, is := errors.AsType[usageError](err); is {
		return 2
	}
	return 1
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == peers.LimitCommand {
		return runLimit(ctx, args[1])
	}
	o, err := parseOptions(args, os.Getenv)
	if err != nil {
		return usageError{err}
	}
	return race(ctx, o, seam.World())
}

// runLimit is the limit's own process. It stays when it is done, so that what it has used can still
// be seen.
func runLimit(ctx context.Context, text string) error {
	var job bench.LimitJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	if _, err := job.Run(ctx, seam.World()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
