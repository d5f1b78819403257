package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// chaosFor is how long a run of faults takes from its first event to the end: long enough for it to
// have to bring everything that its judge looks at. Brokers and judge take a minute beside it.
const chaosFor = 90 * time.Second

// commandTimeout bounds a command that judges, which has limits of its own for whatever a mutant
// may do. One that takes longer hangs itself, and so has judged nothing.
const commandTimeout = 10 * time.Minute

// chaos is the run of faults on a real Kafka: the slowest check, and so the last.
var chaos = check{"chaos", "internal/chaos/cmd/chaos", "", func(seed int) []string {
	return []string{fmt.Sprint("-seed=", seed), "-for=" + chaosFor.String(), "-shrink=0"}
}, none}

// judged is the program that chaos builds, to go list.
var judged = []string{"-tags", "failpoint", "./cmd/tally"}

func (c check) isCommand() bool { return c.run == "" }

// meetCommand runs a command that builds the program which it judges. All that it leaves lies below
// the builder's directory.
func (b *builder) meetCommand(ctx context.Context, c check, seed int, bin string, env []string) (outcome, time.Duration, string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	args := append(c.args(seed), "-dir="+filepath.Join(b.dir, fmt.Sprint(c.name, "-", seed)))
	took, out, err := command(ctx, b.root, append(env, "TMPDIR="+b.dir), bin, args...)
	came, err := ofCommand(err)
	if err != nil {
		err = fmt.Errorf("%s has not judged it with seed %d: %w\n%s", c.name, seed, err, tail(out, 20))
	}
	return came, took, out, err
}

// chaosRuns reports whether there is what a real Kafka needs: a JDK, and its jars or a Maven that
// fetches them.
func chaosRuns(root string) bool {
	if _, err := exec.LookPath("java"); err != nil {
		return false
	}
	_, err := exec.LookPath("mvn")
	jars, _ := filepath.Glob(filepath.Join(root, ".cache", "kafka-*", "jars")) // errs for a bad pattern alone
	return err == nil || len(jars) > 0
}
