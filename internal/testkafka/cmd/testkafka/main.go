// Command testkafka runs a real Apache Kafka in the foreground, for scripts and for people.
//
//	go run ./internal/testkafka/cmd/testkafka --port 19092 [--nodes 3] [--transaction-version 1]
//
// prints "ready 127.0.0.1:19092" when it is ready, and ends with its brokers on SIGINT or SIGTERM.
// Its data does not outlive it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tally-kafka/tally/internal/testkafka"
)

func main() {
	port := flag.Int("port", 19092, "node 1 listens here, further nodes on the next ports")
	nodes := flag.Int("nodes", 1, "number of brokers: 1 or 3")
	version := flag.Int("transaction-version", 2, "the feature transaction.version: 0 to 2")
	flag.Parse()
	if err := run(testkafka.Options{Port: *port, Nodes: *nodes}, *version); err != nil {
		fmt.Fprintln(os.Stderr, "testkafka:", err)
		os.Exit(1)
	}
}

func run(opt testkafka.Options, transactionVersion int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := testkafka.Launch(opt)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetTransactionVersion(ctx, transactionVersion); err != nil {
		return err
	}
	fmt.Println("ready", strings.Join(c.Addrs(), ","))
	<-ctx.Done()
	return nil
}
