package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// testTimeout bounds one run of a check: a mutant that hangs twice is caught by it.
const testTimeout = 3 * time.Minute

// outputWait is how long the output of a check that was ended is waited for: what it has started
// may still hold it.
const outputWait = 10 * time.Second

// builder compiles the checks against one overlay, each package once.
type builder struct {
	root, dir string // of the tree; for the binaries
	overlay   string // JSON file, "" for none
	built     map[string]string
}

// compile returns the binary of a check: tests are built with the overlay, a command without.
func (b *builder) compile(ctx context.Context, c check) (string, error) {
	if bin, ok := b.built[c.pkg]; ok {
		return bin, nil
	}
	bin := filepath.Join(b.dir, strings.ReplaceAll(c.pkg, "/", "_")+".test")
	args := []string{"build"}
	if !c.isCommand() {
		args = []string{"test", "-c"}
		if b.overlay != "" {
			args = append(args, "-overlay", b.overlay)
		}
	}
	args = append(args, "-p", "1", "-o", bin, "./"+c.pkg)
	if _, out, err := command(ctx, b.root, nil, "go", args...); err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	b.built[c.pkg] = bin
	return bin, nil
}

// meet runs a check and says what it came to, how long it took, and what it printed.
func (b *builder) meet(ctx context.Context, c check, seed int) (came outcome, took time.Duration, out string, err error) {
	bin, err := b.compile(ctx, c)
	if err != nil {
		return passed, 0, "", err
	}
	env := c.env(seed)
	if b.overlay != "" { // of what a check builds itself
		env = append(env, "GOFLAGS=-overlay="+b.overlay)
	}
	if c.isCommand() {
		return b.meetCommand(ctx, c, seed, bin, env)
	}
	args := append([]string{
		"-test.run", c.run, "-test.failfast", "-test.timeout", testTimeout.String(),
	}, c.args(seed)...)
	took, out, err = command(ctx, filepath.Join(b.root, c.pkg), env, bin, args...)
	came, err = ofTest(err, out)
	return came, took, out, err
}

// meetSurely is meet, a second time where the first has not said that a test failed, nor that all
// passed: whose time is up both times hangs.
func (b *builder) meetSurely(ctx context.Context, c check, seed int) (came outcome, took time.Duration, out string, err error) {
	first, took, out, err := b.meet(ctx, c, seed)
	if err != nil || first != hung && first != unclear {
		return first, took, out, err
	}
	came, more, out, err := b.meet(ctx, c, seed)
	if err == nil && (came == unclear || came == hung && first != hung) {
		err = fmt.Errorf("%s has ended twice with seed %d, and no test says that it failed:\n%s", c.name, seed, tail(out, 20))
	}
	return came, took + more, out, err
}

func command(ctx context.Context, dir string, env []string, name string, args ...string) (time.Duration, string, error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "nice", append([]string{name}, args...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(os.Environ(), env...), outputWait
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return time.Since(began), out.String(), err
}

// reach lists, for each package with checks, the packages of this module that its tests are built
// of, or the program that it judges: a mutant of others cannot be caught there.
func reach(ctx context.Context, root string, checks []check) (map[string][]string, error) {
	deps := map[string][]string{}
	for _, c := range checks {
		if deps[c.pkg] != nil {
			continue
		}
		of := []string{"-test", "./" + c.pkg}
		if c.isCommand() {
			of = judged
		}
		_, out, err := command(ctx, root, nil, "go", append([]string{"list", "-deps"}, of...)...)
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
func reaching(checks []check, deps map[string][]string, changed []string) (able []check) {
	for _, c := range checks {
		if slices.ContainsFunc(changed, func(pkg string) bool { return slices.Contains(deps[c.pkg], pkg) }) {
			able = append(able, c)
		}
	}
	return able
}
