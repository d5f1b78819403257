package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
)

// Tally runs the tally binary as a user does until it has counted everything in the topic, ends it,
// and returns the sum of all counts and what the process cost.
func Tally(ctx context.Context, cfg kafka.Config, w Workload, binary, dir, topic, name, listen string) (sum int64, u Usage, err error) {
	specFile := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(specFile, []byte(w.Spec(name, topic, 0)), 0o644); err != nil {
		return 0, u, err
	}
	client, err := api.NewClient("http://"+listen, cfg.Seam)
	if err != nil {
		return 0, u, err
	}
	var log strings.Builder
	cmd := exec.Command(binary, "run", "--spec", specFile, "--brokers", strings.Join(cfg.Brokers, ","),
		"--data-dir", filepath.Join(dir, name), "--listen", listen)
	cmd.Stdout, cmd.Stderr = &log, &log
	began := cfg.Seam.Now()
	if err := cmd.Start(); err != nil {
		return 0, u, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = awaitCounted(ctx, cfg, client, w, ended)
	took := cfg.Seam.Since(began)
	var used measure.Usage
	if err == nil {
		used, err = measure.Of(cmd.Process.Pid) // before the scan, which the limit has nothing like
	}
	if err == nil {
		sum, err = total(ctx, client, name)
	}
	if stopErr := stop(ctx, cmd, ended); err == nil {
		err = stopErr
	}
	if err != nil {
		return 0, u, fmt.Errorf("tally run: %w\n%s", err, log.String())
	}
	return sum, Usage{Took: took, CPU: used.CPU, RSSMB: used.PeakRSS / 1_000_000}, nil
}

// stop ends the process as a user does. What waits for its answer gets the end in any case.
func stop(ctx context.Context, cmd *exec.Cmd, ended chan error) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = cmd.Process.Kill() // it may just have ended
		<-ended
		return ctx.Err()
	}
}

func awaitCounted(ctx context.Context, cfg kafka.Config, client *api.Client, w Workload, ended chan error) error {
	for {
		st, err := client.Status(ctx)
		if err == nil && len(st.Apps) == 1 && st.Apps[0].Processed == int64(w.Events) {
			return nil
		}
		select {
		case err := <-ended:
			ended <- err // stop reads it again
			return fmt.Errorf("it ended: %w", err)
		default:
		}
		if err := cfg.Seam.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func total(ctx context.Context, client *api.Client, app string) (sum int64, err error) {
	_, err = client.Scan(ctx, app, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error {
		var values struct{ Count int64 }
		err := json.Unmarshal(c.Values, &values)
		sum += values.Count
		return err
	})
	return sum, err
}

// Usage is what a process cost.
type Usage struct {
	Took  time.Duration // from its start to the commit of the last event
	CPU   time.Duration // user and system, to the commit of the last event
	RSSMB int64         // at most
}
