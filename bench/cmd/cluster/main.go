// Command cluster measures what a cluster of tally does around faults, beside Kafka Streams with a
// standby, and what it costs, on one real Kafka, and writes docs/cluster-performance.md.
//
//	go run ./bench/cmd/cluster [--tries 20] [--parts gaps] [--faults "owner killed"]
//
// TRIES, FAULTS, PEERS, PARTS, GROUPS and RATE are also environment variables, which is how make
// passes them. A run of a part writes .cache/cluster-performance.md instead, or what PAGE says;
// there it replaces the parts that it has measured.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/tally-kafka/tally/bench/failover"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == failover.ReaderCommand {
		var r failover.Reader
		if err := json.Unmarshal([]byte(args[1]), &r); err != nil {
			return err
		}
		return r.Run(ctx, seam.World())
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return run(ctx, o, seam.World())
}

func run(ctx context.Context, o options, sm seam.Seam) error {
	dir, err := os.MkdirTemp("", "tally-cluster-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "tally")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/tally")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build tally: %w\n%s", err, out)
	}
	k, err := testkafka.Launch(testkafka.Options{Proxy: true})
	if err != nil {
		return err
	}
	defer k.Close()
	cache, err := filepath.Abs(o.cache)
	if err != nil {
		return err
	}
	l := &lab{o: o, sm: sm, dir: dir, binary: binary, cache: cache, cluster: k, kafka: kafka.Config{Brokers: k.Addrs(), Seam: sm}}
	page, err := openPage(ctx, o, sm.Now())
	if err != nil {
		return err
	}
	for _, part := range allParts {
		if !o.wants(part) || !peers.Chosen(o.peers, peerOf(part)) {
			continue
		}
		l.say("== %s", part)
		table := l.part(ctx, part)
		if ctx.Err() != nil {
			return ctx.Err() // what is there of the part is not what it is
		}
		if err := page.add(part, o.with(), table); err != nil {
			return err
		}
	}
	return nil
}

func peerOf(part string) string {
	if part == "streams" {
		return "kafka-streams"
	}
	return "tally"
}
