// Command tally keeps exactly-once running counts of what arrives on Kafka topics, and answers
// questions about them while they run.
//
// Each command is one file: a constructor newCmdX that declares the flags, and a function runX that
// does the work with what the flags say. What they share of the outside world is the tool.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/tally-kafka/tally/internal/demo"
	"github.com/tally-kafka/tally/internal/seam"
)

func main() {
	os.Exit(mainExit())
}

func mainExit() int {
	defer profile(os.Getenv)()
	ctx, stop := signal.NotifyContext(context.Background(), ending()...)
	defer stop()
	// A file that may not grow further is a full disk: a lane waits, and nothing has to die.
	signal.Ignore(syscall.SIGXFSZ)
	// A second signal ends the process at once.
	defer context.AfterFunc(ctx, stop)()
	if os.Getenv(demo.StdinEnv) != "" {
		go endWithStdin()
	}
	t := &tool{
		in: os.Stdin, inTTY: isTerminal(os.Stdin),
		out: os.Stdout, outTTY: isTerminal(os.Stdout),
		err: os.Stderr, errTTY: isTerminal(os.Stderr),
		getenv: os.Getenv,
		seam:   seam.World(),
	}
	t.failpoints = failpoint(os.Getenv, &t.seam)
	return t.execute(ctx, os.Args[1:])
}

// endWithStdin ends this process once the one that started it has gone, by whatever way: nobody is
// left then who wants an end in order.
func endWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(exitFailed)
}

// ending are the signals that ask for an end in order; that of a terminal which closes is one of
// them, unless whoever started this (nohup) wants it to live on.
func ending() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
