package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
)

// Tally is the built binary, run as a user runs it.
type Tally struct {
	Binary string
	Lanes  int    // 0: as tally chooses
	Memory string // of --memory; "" for its default
}

func (t Tally) Name() string {
	switch t.Lanes {
	case 0:
		return "tally"
	case 1:
		return "tally-1-lane"
	}
	return fmt.Sprintf("tally-%d-lanes", t.Lanes)
}

// Install has nothing to do: the command has built the binary.
func (t Tally) Install(context.Context) error { return nil }

func (t Tally) Command(j Job) (*exec.Cmd, error) {
	specFile := filepath.Join(j.Dir, "spec.yaml")
	if err := os.WriteFile(specFile, []byte(j.Workload.Spec(j.App, j.In, t.Lanes)), 0o644); err != nil {
		return nil, err
	}
	args := []string{"run", "--spec", specFile, "--brokers", j.brokers(),
		"--data-dir", filepath.Join(j.Dir, "data"), "--listen", j.Listen}
	if j.Interval > 0 {
		args = append(args, "--commit-max", j.Interval.String())
	}
	if t.Memory != "" {
		args = append(args, "--memory", t.Memory)
	}
	return exec.Command(t.Binary, args...), nil
}

func (t Tally) SaysRunning() bool { return false }

func (t Tally) ExactlyOnce() bool { return true }

// Position has gone through both stages, where there are two.
func (t Tally) Position(ctx context.Context, admin *kafka.Admin, j Job) (map[int32]int64, error) {
	at, err := groupPosition(ctx, admin, j)
	if err != nil || !j.Workload.ByWord {
		return at, err
	}
	ends, err := admin.EndOffsets(ctx, j.In, true)
	if err != nil {
		return nil, err
	}
	var after []string
	for p, end := range ends {
		if at[p] < end {
			return at, nil
		}
		if end > 0 {
			after = append(after, fmt.Sprintf("%s/%d:%d", j.In, p, end-1))
		}
	}
	// All that is read is counted when tally itself answers a question that waits for it.
	client, err := api.NewClient("http://"+j.Listen, j.Kafka.Seam)
	if err != nil {
		return nil, err
	}
	_, err = client.Top(ctx, j.App, 1, api.ReadOptions{Wait: throughWait, After: after})
	return at, err
}

// throughWait is how long what is read may take through the second stage.
const throughWait = 30 * time.Second

func (Tally) Adds() bool { return false }

func (t Tally) State(j Job) string { return filepath.Join(j.Dir, "data", "state") }

func (t Tally) Settings() []string {
	lanes := "lanes: its default, one a partition of the input, at most 4"
	if t.Lanes > 0 {
		lanes = fmt.Sprintf("lanes: %d", t.Lanes)
	}
	return []string{
		"--commit-max as the row says; a lane that is behind may take twice as long where a commit takes long",
		`a lane that keeps up commits 25 ms after an event, which is what "own" says in the rows of latency`,
		lanes, "--memory: its default of 512 MB, where the row says no other",
		"as many threads as there are cores",
	}
}
