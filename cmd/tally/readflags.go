package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
)

// readFlags are what all queries have in common.
type readFlags struct {
	serverFlags
	app         string
	wait        time.Duration
	after       []string
	minPosition string
	stale       bool
	json        bool
}

func (f *readFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	f.serverFlags.add(cmd)
	fl.StringVar(&f.app, "app", "", "`NAME` of the app; may be left out when there is one")
	fl.DurationVar(&f.wait, "wait", 2*time.Second, "how long to wait for --after, --min-position, a restore and a lane that changes hands; at most 1m")
	fl.StringSliceVar(&f.after, "after", nil, "wait until the event at `TOPIC/PARTITION:OFFSET` is included")
	fl.StringVar(&f.minPosition, "min-position", "", "wait until the answer is as new as the one that gave this `TOKEN`")
	fl.BoolVar(&f.stale, "stale", false, "let a standby answer too, with values that may be older")
	fl.BoolVar(&f.json, "json", false, "print JSON")
}

// asked is an app to ask about, found at the node.
type asked struct {
	client  *api.Client
	name    string
	program *spec.Program
	spec    *spec.Spec
	opt     api.ReadOptions
}

// resolve finds the app, and its spec: the names and kinds of the parts of its groups.
func (f *readFlags) resolve(ctx context.Context, t *tool) (*asked, error) {
	if f.wait < 0 {
		return nil, usagef("--wait %v: say how long, such as 2s, or 0 for an answer at once", f.wait)
	}
	client, err := f.client(t)
	if err != nil {
		return nil, err
	}
	info, err := client.App(ctx, f.app)
	if err != nil {
		return nil, err
	}
	s, err := spec.Parse([]byte(info.Spec), "the node's spec of "+info.App)
	if err != nil {
		return nil, &exitError{exitFailed, err}
	}
	return &asked{
		client: client, name: info.App, spec: s, program: spec.Compile(s),
		opt: api.ReadOptions{Wait: f.wait, After: f.after, MinPosition: f.minPosition, Fresh: true, Stale: f.stale},
	}, nil
}

// partNames are the names of the parts of a group, and valueNames those of the values, in order.
func (a *asked) partNames() []string {
	var names []string
	for _, p := range a.spec.Group {
		names = append(names, p.Name())
	}
	return names
}

func (a *asked) valueNames() []string {
	var names []string
	for _, g := range a.spec.Aggregates {
		names = append(names, g.Name)
	}
	return names
}

// prefix turns PARTs into the beginning of a group; nil for all groups.
func (a *asked) prefix(parts []string, nullKey bool) ([]byte, error) {
	if len(parts) == 0 && !nullKey {
		return nil, nil
	}
	prefix, err := a.program.GroupFromArgs(parts, nullKey)
	if err == nil {
		_, err = a.program.ParsePrefixJSON(prefix)
	}
	if err != nil {
		return nil, usagef("app %s: %w", a.name, err)
	}
	return prefix, nil
}
