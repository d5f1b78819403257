package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/failover"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// lab is what all parts share.
type lab struct {
	o                  options
	sm                 seam.Seam
	dir, binary, cache string
	cluster            *testkafka.Cluster
	kafka              kafka.Config
}

func (l *lab) say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// part is one table. What cannot be measured is a row that says why.
func (l *lab) part(ctx context.Context, name string) failover.Table {
	m := failover.Lab{Binary: l.binary, Kafka: l.kafka, Dir: l.dir, Seam: l.sm, Say: l.say}
	switch name {
	case "gaps":
		return l.gaps(ctx)
	case "cut":
		return l.cut(ctx)
	case "groups":
		return l.withGroups(ctx)
	case "streams":
		return l.streams(ctx)
	case "starts":
		return m.Starts(ctx, l.o.tries)
	case "standby":
		return m.Standby(ctx)
	case "reads":
		return m.Reads(ctx)
	case "copy":
		return m.NewStandby(ctx, l.o.groups)
	case "rest":
		return m.Rest(ctx)
	case "plan":
		return plan(ctx)
	}
	panic("cluster: no part " + name)
}

const gapNote = "Events come at %d a second to six partitions, 1,000 keys. The gap is the longest time from an event to its count, " +
	"at a read-committed reader, of all events around the fault; events go on until 3 s after it is over."

func (l *lab) trial(name string, tries int) failover.Trial {
	w := bench.Workload{Name: name, Keys: 1000, Partitions: 6}
	return failover.Trial{
		Feed: failover.Feed{Kafka: l.kafka, Workload: w, In: name + "-in", Seam: l.sm},
		Rate: l.o.rate, Tries: tries, Before: time.Second, After: 3 * time.Second, Patience: 2 * time.Minute, Say: l.say,
	}
}

func (l *lab) tally(t failover.Trial) *failover.Tally {
	name := t.Workload.Name
	return &failover.Tally{
		Binary: l.binary, Nodes: 3, Kafka: l.kafka, Workload: t.Workload, In: t.In, App: name, Lanes: 6,
		Dir: filepath.Join(l.dir, name+"-nodes"), Seam: l.sm,
	}
}

// table runs a band, and shows what came out of it.
func (l *lab) table(ctx context.Context, title, note string, t failover.Trial, b failover.Band, faults []string) failover.Table {
	all, err := t.Run(ctx, b, faults)
	if err != nil {
		l.say("%v", err)
		if len(all) == 0 {
			all = []failover.Gaps{{Band: b.Name(), Wrong: err.Error()}}
		}
	}
	return failover.GapsTable(title, note, all)
}

func (l *lab) gaps(ctx context.Context) failover.Table {
	t := l.trial("tally", l.o.tries)
	return l.table(ctx, "The gap around a fault", fmt.Sprintf(gapNote, l.o.rate), t, l.tally(t), split(l.o.faults))
}

// cut has proxies between the nodes and in front of Kafka, and is not in the same table for that.
func (l *lab) cut(ctx context.Context) failover.Table {
	t := l.trial("tally-cut", l.o.tries)
	b := l.tally(t)
	b.Wires = &failover.Wires{Net: link.New(l.sm, bench.Seed), Kafka: l.cluster}
	defer b.Wires.Net.Close()
	faults := l.o.chosen(failover.Cuts)
	if len(faults) == 0 { // they were named for other parts
		faults = failover.Cuts
	}
	return l.table(ctx, "A node cut off", "All connections go through TCP proxies, which cut those of one node, to the others and to Kafka.",
		t, b, faults)
}

func (l *lab) withGroups(ctx context.Context) failover.Table {
	t := l.trial("tally-groups", l.o.tries)
	t.Groups = l.o.groups
	return l.table(ctx, fmt.Sprintf("With %d groups", l.o.groups), "The gap is the time from the kill to the first commits, the start of the processes included.",
		t, l.tally(t), []string{failover.KillAll})
}

func (l *lab) streams(ctx context.Context) failover.Table {
	t := failover.GapsTable("Kafka Streams "+peers.StreamsVersion+" with one standby",
		"Three instances, exactly once, commits every 100 ms; by default, and with the shortest session that a broker takes by default.", nil)
	peer := peers.Streams{Cache: l.cache, Expert: true}
	if err := peer.Install(ctx); err != nil {
		t.Rows = append(t.Rows, failover.Row{Cells: []string{"kafka-streams"}, Wrong: err.Error()})
		return t
	}
	for _, soon := range []bool{true, false} {
		name := "streams"
		if soon {
			name += "-soon"
		}
		trial := l.trial(name, min(l.o.tries, 2))
		b := &failover.Streams{
			Peer: peer, Soon: soon, Instances: 3, Kafka: l.kafka, Workload: trial.Workload, In: trial.In, App: name,
			Dir: filepath.Join(l.dir, name), Seam: l.sm,
		}
		t.Rows = append(t.Rows, l.table(ctx, "", "", trial, b, split(l.o.faults)).Rows...)
	}
	return t
}

const planMs = 20

var perOp = regexp.MustCompile(`(\d+(?:\.\d+)?) ns/op`)

// plan is one turn of the leader after a death, in process.
func plan(ctx context.Context) failover.Table {
	t := failover.Table{Title: "The control plane", Head: []string{"what", "ms"},
		Note: "One turn of the leader in process, from a death that is seen to the log's answer: `go test -bench Takeover ./replication/lead`."}
	row := failover.Row{Cells: []string{"a plan after a death, 1,000 lanes on 50 nodes"}, Target: fmt.Sprintf("<= %d", planMs)}
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "BenchmarkTakeover$", "-benchtime", "20x", "./replication/lead").CombinedOutput()
	found := perOp.FindStringSubmatch(string(out))
	if err != nil || found == nil {
		row.Wrong = fmt.Sprintf("%v: %s", err, strings.TrimSpace(string(out)))
	} else if ns, err := strconv.ParseFloat(found[1], 64); err != nil {
		row.Wrong = err.Error()
	} else {
		row.Cells, row.Missed = append(row.Cells, fmt.Sprintf("%.1f", ns/1e6)), ns/1e6 > planMs
	}
	t.Rows = []failover.Row{row}
	return t
}
