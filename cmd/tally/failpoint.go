//go:build failpoint

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	shared "github.com/tally-kafka/tally/internal/failpoint"
	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
)

// failpoint is for tests alone. With TALLY_FAILPOINT_SHARED=FILE the node shares the file's memory
// with who tests it (see internal/failpoint), which can then hold it at a step, set its clock,
// have its syncs hang or its disk be full, and cut its power.
func failpoint(getenv func(string) string, sm *seam.Seam) func(*node.Config) {
	path := getenv(shared.Env)
	if path == "" {
		return func(cfg *node.Config) { cfg.Step = killAt(getenv) }
	}
	memory, err := shared.Open(path)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", shared.Env, err))
	}
	memory.CountRefused() // until the process ends
	sm.Now = memory.Now
	disk := shared.NewDisk(memory.AwaitSync, memory.Room)
	go endWithoutPower(memory, disk)
	return func(cfg *node.Config) {
		cfg.Step, cfg.StateFS = memory.Hit, disk
		cfg.IngestBytes = 16 << 10 // so that a lane of a test's size is ingested too
	}
}

// endWithoutPower ends the process, and loses what its disk may lose, when that is asked for.
func endWithoutPower(memory *shared.Shared, disk *shared.Disk) {
	memory.AwaitPowerCut()
	if err := disk.LosePower(); err != nil {
		fmt.Fprintf(os.Stderr, "failpoint: the disk has not lost its power: %v\n", err)
		return // who has asked for it sees that nothing ends
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// killAt makes the hook that TALLY_FAILPOINT=step[:n] asks for: at the n-th hit of the step the
// process kills itself as kill -9 would. TALLY_FAILPOINT_LOG=FILE gets the name of each step when
// it is first hit, so that a test can prove that a step is reached at all.
func killAt(getenv func(string) string) step.Hook {
	target, hits := parseFailpoint(getenv("TALLY_FAILPOINT"))
	logPath := getenv("TALLY_FAILPOINT_LOG")
	if target == "" && logPath == "" {
		return nil
	}
	var mu sync.Mutex
	seen := map[step.Name]int{}
	return func(n step.Name) {
		mu.Lock()
		defer mu.Unlock()
		seen[n]++
		if seen[n] == 1 && logPath != "" {
			logStep(logPath, n)
		}
		if n == target && seen[n] == hits {
			fmt.Fprintf(os.Stderr, "failpoint %s hit %d times: kill -9\n", n, hits)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing more may happen while the signal is on its way
		}
	}
}

func parseFailpoint(text string) (step.Name, int) {
	if text == "" {
		return "", 0
	}
	name, count, counted := strings.Cut(text, ":")
	hits := 1
	if counted {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			panic(fmt.Sprintf("TALLY_FAILPOINT=%s: %q is not a number of hits", text, count))
		}
		hits = n
	}
	for _, n := range slices.Concat(step.All, step.TwoStages, step.Resets) {
		if n == step.Name(name) {
			return n, hits
		}
	}
	panic(fmt.Sprintf("TALLY_FAILPOINT=%s: there is no step %q", text, name))
}

// logStep appends and closes at once, so that the line is there after a kill.
func logStep(path string, n step.Name) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(fmt.Sprintf("TALLY_FAILPOINT_LOG: %v", err))
	}
	if _, err := fmt.Fprintln(f, n); err != nil {
		panic(fmt.Sprintf("TALLY_FAILPOINT_LOG: %v", err))
	}
	_ = f.Close()
}
