// Command cluster measures the gap in a cluster's outputs around faults, of tally and of Kafka
// Streams, on one real Kafka, and prints it as a table.
//
//	go run ./bench/cmd/cluster [--tries 20] [--faults "owner killed"] [--peers tally]
//
// TRIES, FAULTS, PEERS and RATE are also environment variables, which is how make passes them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/failover"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

type options struct {
	tries  int
	rate   int
	faults string
	peers  string
	cache  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o, seam.World())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	fl := flag.NewFlagSet("cluster", flag.ContinueOnError)
	fl.IntVar(&o.tries, "tries", 20, "of each fault, at tally; 2 at Kafka Streams")
	fl.IntVar(&o.rate, "rate", 1000, "events a second")
	fl.StringVar(&o.faults, "faults", "", "to be tried, separated by commas; default: all")
	fl.StringVar(&o.peers, "peers", "", "tally, kafka-streams; default: both")
	fl.StringVar(&o.cache, "cache", ".cache/peers", "where Kafka Streams is installed")
	for _, name := range []string{"tries", "rate", "faults", "peers"} {
		if v := os.Getenv(strings.ToUpper(name)); v != "" {
			if err := fl.Set(name, v); err != nil {
				return o, fmt.Errorf("%s=%s: %w", strings.ToUpper(name), v, err)
			}
		}
	}
	err := fl.Parse(args)
	if err == nil && (o.tries < 1 || o.rate < 1) {
		err = fmt.Errorf("--tries and --rate are at least 1")
	}
	return o, err
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
	k, err := testkafka.Launch(testkafka.Options{})
	if err != nil {
		return err
	}
	defer k.Close()
	cache, err := filepath.Abs(o.cache)
	if err != nil {
		return err
	}
	lab := lab{o: o, sm: sm, dir: dir, binary: binary, cache: cache, kafka: kafka.Config{Brokers: k.Addrs(), Seam: sm}}
	gaps, err := lab.all(ctx)
	printTable(gaps)
	return err
}

// lab is what all bands share.
type lab struct {
	o                  options
	sm                 seam.Seam
	dir, binary, cache string
	kafka              kafka.Config
}

func (l lab) all(ctx context.Context) (all []failover.Gaps, err error) {
	for _, b := range []struct {
		peer string
		run  func(context.Context) ([]failover.Gaps, error)
	}{
		{"tally", func(ctx context.Context) ([]failover.Gaps, error) { return l.tally(ctx) }},
		{"kafka-streams", func(ctx context.Context) ([]failover.Gaps, error) { return l.streams(ctx, true) }},
		{"kafka-streams", func(ctx context.Context) ([]failover.Gaps, error) { return l.streams(ctx, false) }},
	} {
		if !peers.Chosen(l.o.peers, b.peer) {
			continue
		}
		gaps, err := b.run(ctx)
		all = append(all, gaps...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (l lab) trial(ctx context.Context, name string, tries int) (failover.Trial, error) {
	w := bench.Workload{Name: name, Keys: 1000, Partitions: 6}
	t := failover.Trial{
		Kafka: l.kafka, Workload: w, In: name + "-in", Rate: l.o.rate, Tries: tries,
		Before: time.Second, After: 3 * time.Second, Patience: 2 * time.Minute, Seam: l.sm,
		Say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	err := w.CreateTopic(ctx, l.kafka, t.In)
	if err == nil {
		err = w.CreateTopic(ctx, l.kafka, name+"-out")
	}
	return t, err
}

func (l lab) tally(ctx context.Context) ([]failover.Gaps, error) {
	t, err := l.trial(ctx, "tally", l.o.tries)
	if err != nil {
		return nil, err
	}
	return t.Run(ctx, &failover.Tally{
		Binary: l.binary, Nodes: 3, Kafka: l.kafka, Workload: t.Workload, In: t.In, App: "tally", Lanes: 6,
		Dir: filepath.Join(l.dir, "tally-nodes"), Seam: l.sm,
	}, l.faults())
}

func (l lab) streams(ctx context.Context, soon bool) ([]failover.Gaps, error) {
	name := "streams"
	if soon {
		name += "-soon"
	}
	peer := peers.Streams{Cache: l.cache, Expert: true}
	if err := peer.Install(ctx); err != nil {
		return nil, err
	}
	t, err := l.trial(ctx, name, min(l.o.tries, 2))
	if err != nil {
		return nil, err
	}
	return t.Run(ctx, &failover.Streams{
		Peer: peer, Soon: soon, Instances: 3, Kafka: l.kafka, Workload: t.Workload, In: t.In, App: name,
		Dir: filepath.Join(l.dir, name), Seam: l.sm,
	}, l.faults())
}

func (l lab) faults() []string {
	if l.o.faults == "" {
		return nil
	}
	return strings.Split(l.o.faults, ",")
}

func printTable(all []failover.Gaps) {
	fmt.Println("| band | fault | tries | gap p50 ms | max ms | |")
	fmt.Println("|---|---|---:|---:|---:|---|")
	for _, g := range all {
		fmt.Printf("| %s | %s | %d | %.0f | %.0f | %s |\n", g.Band, g.Fault, len(g.Ms), g.Median(), g.Max(), g.Wrong)
	}
}
