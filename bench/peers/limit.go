package peers

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"runtime/debug"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/kafka"
)

// LimitCommand is the argument by which the command that runs the peers runs the limit itself; the
// job follows as JSON.
const LimitCommand = "limit-process"

// Limit is the bare program of package bench, in a process of its own.
type Limit struct{}

func (Limit) Name() string                  { return "limit" }
func (Limit) Install(context.Context) error { return nil }
func (Limit) SaysRunning() bool             { return false }
func (Limit) Adds() bool                    { return true }
func (Limit) ExactlyOnce() bool             { return true }
func (Limit) State(Job) string              { return "" }

func (Limit) Command(j Job) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	job, err := json.Marshal(bench.LimitJob{
		Brokers: j.Kafka.Brokers, Workload: j.Workload, Topic: j.In, Name: j.App, Interval: j.Interval,
	})
	if err != nil {
		return nil, err
	}
	return exec.Command(self, LimitCommand, string(job)), nil
}

func (Limit) Position(ctx context.Context, admin *kafka.Admin, j Job) (map[int32]int64, error) {
	return groupPosition(ctx, admin, j)
}

func (Limit) Settings() []string {
	return []string{
		threadsText("lanes") + ", each with a Go map of what a transaction adds; no state beyond that",
		"a changelog record and an output a changed group, with what was added, of the sizes of tally's",
		"nothing that makes it safe to crash; no compression; fetches of 1 MB, 300 KB a partition",
		"the interval begins when the last transaction has ended, and alone ends it: tally also ends one that has grown large",
		profile(),
	}
}

// profile says whether this program, whose process the limit is one of, was built with a profile as
// tally is.
func profile() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-pgo" && s.Value != "off" {
				return "built with the profile that tally is built with"
			}
		}
	}
	return "built without a profile, which tally has"
}
