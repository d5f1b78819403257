package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

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

func (t Tally) Position(ctx context.Context, admin *kafka.Admin, j Job) (map[int32]int64, error) {
	return groupPosition(ctx, admin, j)
}

func (t Tally) State(j Job) string { return filepath.Join(j.Dir, "data", "state") }

func (t Tally) Settings() []string {
	s := []string{"--commit-max as the row says"}
	if t.Lanes > 0 {
		s = append(s, fmt.Sprintf("lanes: %d", t.Lanes))
	}
	return s
}
