package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// check is a general check: tests of one package that no mutant has been made for, or the other way
// round.
type check struct {
	name string // as the table shows it
	pkg  string // below the module
	run  string // of go test
	// seeded makes the run of a seed out of its arguments and environment.
	args func(seed int) []string
	env  func(seed int) []string
}

const module = "github.com/tally-kafka/tally"

func rapid(seed int) []string {
	return []string{fmt.Sprint("-rapid.seed=", seed), "-rapid.nofailfile", "-rapid.shrinktime=1s"}
}

func short(int) []string { return []string{"-test.short"} } // the real Kafka is left out

func none(int) []string { return nil }

// checks in the order in which a mutant meets those that its files can reach: the fast ones first.
var checks = []check{
	{"TestLaneCountsExactly", "processor", "^TestLaneCountsExactly$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=1000") // of which each takes milliseconds
	}, none},
	{"state: TestModel", "state", "^TestModel$", rapid, none},
	{"state: TestCrashWhile…", "state", "^TestCrashWhile(Publishing|Loading)$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=300") // a crash must hit a moment
	}, none},
	{"state: TestCheckpoint…", "state", "^TestCheckpoint(Crash)?$", none, none},
	{"seed: TestFetch…", "replication/seed", "^TestFetch", none, none},
	{"replication: TestCatchUp…", "replication", "^TestCatchUp(EndsAtTheBarrier|OfFourPartitions|GoesOn)$", short, none},
	{"ownership: TestAnyLog", "replication/ownership", "^TestAnyLog$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=1000")
	}, none},
	{"assign: TestAnyHistory", "replication/assign", "^TestAnyHistory$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=5000")
	}, none},
	{"sim: TestSchedules", "replication/sim", "^TestSchedules$", none, func(seed int) []string {
		return []string{fmt.Sprint("SIM_SEED=", 10_000*seed), "SIM_SCHEDULES=400"}
	}},
	{"lead: TestSchedules", "replication/lead", "^TestSchedules$", none, func(seed int) []string {
		return []string{fmt.Sprintf("SCHEDULES=%d+300", 10_000*seed)}
	}},
	{"TestNodeCountsExactly", "internal/node", "^TestNodeCountsExactly$", none,
		func(seed int) []string { return []string{fmt.Sprint("PROPERTY_SEED=", seed)} }},
	{"TestBandCountsExactly", "internal/node", "^TestBandCountsExactly$", none,
		func(seed int) []string { return []string{fmt.Sprint("PROPERTY_SEED=", seed)} }},
	{"TestSim", "internal/node", "^TestSim$", none, func(seed int) []string { // each kind of trial once
		return []string{fmt.Sprint("SIM_SEED=", 3*seed), "SIM_SEEDS=3"}
	}},
}

// testTimeout bounds one run of a check: a mutant that hangs is caught by it.
const testTimeout = 3 * time.Minute

// builder compiles the checks against one overlay, each package once.
type builder struct {
	root, dir string // of the tree; for the binaries
	overlay   string // JSON file, "" for none
	built     map[string]string
}

// compile returns the test binary of a package.
func (b *builder) compile(ctx context.Context, pkg string) (string, error) {
	if bin, ok := b.built[pkg]; ok {
		return bin, nil
	}
	bin := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "_")+".test")
	args := []string{"test", "-c", "-p", "1", "-o", bin}
	if b.overlay != "" {
		args = append(args, "-overlay", b.overlay)
	}
	if _, out, err := command(ctx, b.root, nil, "go", append(args, "./"+pkg)...); err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	b.built[pkg] = bin
	return bin, nil
}

// failed runs a check and reports whether it failed, with the end of what it said.
func (b *builder) failed(ctx context.Context, c check, seed int) (caught bool, took time.Duration, out string, err error) {
	bin, err := b.compile(ctx, c.pkg)
	if err != nil {
		return false, 0, "", err
	}
	env := c.env(seed)
	if b.overlay != "" { // of what a test builds itself
		env = append(env, "GOFLAGS=-overlay="+b.overlay)
	}
	args := append([]string{
		"-test.run", c.run, "-test.failfast", "-test.timeout", testTimeout.String(),
	}, c.args(seed)...)
	took, out, err = command(ctx, filepath.Join(b.root, c.pkg), env, bin, args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return true, took, out, nil
	}
	return false, took, out, err
}

func command(ctx context.Context, dir string, env []string, name string, args ...string) (time.Duration, string, error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "nice", append([]string{name}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return time.Since(began), out.String(), err
}

// reach lists, for each package with checks, the packages of this module that its tests are built
// of: a mutant of others cannot be caught there.
func reach(ctx context.Context, root string) (map[string][]string, error) {
	deps := map[string][]string{}
	for _, c := range checks {
		if deps[c.pkg] != nil {
			continue
		}
		_, out, err := command(ctx, root, nil, "go", "list", "-deps", "-test", "./"+c.pkg)
		if err != nil {
			return nil, fmt.Errorf("go list ./%s: %w\n%s", c.pkg, err, out)
		}
		for line := range strings.Lines(out) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if dir, ok := strings.CutPrefix(name, module+"/"); ok {
				deps[c.pkg] = append(deps[c.pkg], dir)
			}
		}
	}
	return deps, nil
}

// reaching are the checks that a change of these packages can fail.
func reaching(deps map[string][]string, changed []string) (able []check) {
	for _, c := range checks {
		if slices.ContainsFunc(changed, func(pkg string) bool { return slices.Contains(deps[c.pkg], pkg) }) {
			able = append(able, c)
		}
	}
	return able
}
