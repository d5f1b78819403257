package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/kafka"
)

// A Job is one app of one peer.
type Job struct {
	Kafka    kafka.Config
	Workload bench.Workload
	In       string // the input topic
	App      string // begins the names of all else that belongs to this run
	Dir      string // for its files and state
	Listen   string // of tally's API
	Interval time.Duration
}

// Out is the topic of outputs.
func (j Job) Out() string { return j.App + "-out" }

// tmpdir has a JVM unpack its libraries, such as RocksDB's of 15 MB, into the job's own directory:
// a JVM that is killed leaves them behind.
func (j Job) tmpdir() (option string, err error) {
	dir := filepath.Join(j.Dir, "tmp")
	return "-Djava.io.tmpdir=" + dir, os.MkdirAll(dir, 0o755)
}

func (j Job) brokers() string { return strings.Join(j.Kafka.Brokers, ",") }

// A Peer is a program that counts.
type Peer interface {
	// Name of its row in the report.
	Name() string
	// Install makes it ready to start; it may take minutes the first time.
	Install(ctx context.Context) error
	// Command is how it starts, on a Dir that is there: empty the first time, and left behind by a
	// process that was killed the next times.
	Command(Job) (*exec.Cmd, error)
	// SaysRunning: it prints the line "running" when its start-up is over, which then is no part of
	// its rate. The others are measured from the start of the process.
	SaysRunning() bool
	// ExactlyOnce: it claims that each of its outputs is there once, so that one which does not
	// raise its count is wrong.
	ExactlyOnce() bool
	// Position is up to where the input has been counted and committed.
	Position(context.Context, *kafka.Admin, Job) (map[int32]int64, error)
	// State is the folder that a restore from Kafka can make anew, "" where there is none.
	State(Job) string
	// Adds: its outputs say what each transaction has added to a group, not what the group is.
	Adds() bool
	// Settings are those that are not the program's defaults, for the report.
	Settings() []string
}

// threadsText says of what there are as many as bench.Threads has it.
func threadsText(what string) string {
	return fmt.Sprintf("%s: one a core, at most one a partition of the input, so at most %d here", what, runtime.NumCPU())
}

// groupPosition is that of a peer which commits its offsets to Kafka.
func groupPosition(ctx context.Context, admin *kafka.Admin, j Job) (map[int32]int64, error) {
	all := make([]int32, j.Workload.Partitions)
	for p := range all {
		all[p] = int32(p)
	}
	return admin.SettledOffsets(ctx, j.App, j.In, all...)
}

// Chosen says whether a list such as "kafka-streams,limit" names the peer: by its name, or by what
// the name begins with. An empty list names all.
func Chosen(list, name string) bool {
	if list == "" {
		return true
	}
	for _, one := range strings.Split(list, ",") {
		if name == one || strings.HasPrefix(name, one+"-") {
			return true
		}
	}
	return false
}
