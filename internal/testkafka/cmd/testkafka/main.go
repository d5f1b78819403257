// Command testkafka runs a real Apache Kafka in the foreground, for scripts and for people.
//
//	go run ./internal/testkafka/cmd/testkafka --port 19092 [--nodes 3]
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
	flag.Parse()
	if err := run(*port, *nodes); err != nil {
		fmt.Fprintln(os.Stderr, "testkafka:", err)
		os.Exit(1)
	}
}

func run(port, nodes int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := testkafka.Launch(testkafka.Options{Port: port, Nodes: nodes})
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("ready", strings.Join(c.Addrs(), ","))
	<-ctx.Done()
	return nil
}
