package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/dead"
)

type deadReplayOptions struct {
	deadFlags
	all        bool
	whereError string
	again      bool
	dryRun     bool
	yes        bool
	json       bool
	places     []string
}

func newCmdDeadReplay(t *tool) *cobra.Command {
	var opt deadReplayOptions
	cmd := &cobra.Command{
		Use:   "replay PARTITION:OFFSET... | --all | --where-error TEXT",
		Short: "Send the events of dead letters to the input again",
		Long: `Send the events of dead letters to the input again: key, value, headers and time as they were, each to
the partition of its key's hash, one without a key to the one that it was in. Do it when what was
wrong is mended, such as the spec's on_error or a limit.

A dead letter stays where it is. The new event says in the header tally.replay which letter it was, and
the input is searched for that before anything is sent: a letter that was replayed before is left out,
unless --again. On a large input the search takes a while; --again does without. Event and replay both
stay in the input: a later reset, or another app, reads both.`,
		Example: `  tally dead replay 0:17 2:3
  tally dead replay --where-error 'not JSON' --dry-run
  tally dead replay --all --yes`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.places = args
			return runDeadReplay(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&opt.all, "all", false, "every dead letter; without a terminal it takes --yes")
	fl.StringVar(&opt.whereError, "where-error", "", "those whose error contains `TEXT`")
	fl.BoolVar(&opt.again, "again", false, "also those that were replayed before")
	fl.BoolVar(&opt.dryRun, "dry-run", false, "say how many, and send nothing")
	fl.BoolVar(&opt.yes, "yes", false, "do it")
	fl.BoolVar(&opt.json, "json", false, "print JSON, and do not ask")
	return cmd
}

// choice reads which letters are meant.
func (o deadReplayOptions) choice() (dead.Choice, error) {
	ways := 0
	for _, said := range []bool{len(o.places) > 0, o.all, o.whereError != ""} {
		if said {
			ways++
		}
	}
	if ways != 1 {
		return dead.Choice{}, usagef("say which dead letters: PARTITION:OFFSET..., or --all, or --where-error TEXT")
	}
	c := dead.Choice{Again: o.again}
	for _, text := range o.places {
		at, err := dead.ParsePlace(text)
		if err != nil {
			return c, &exitError{exitUsage, err}
		}
		c.Places = append(c.Places, at)
	}
	if o.whereError != "" {
		c.Match = func(l dead.Letter) bool { return strings.Contains(l.Error, o.whereError) }
	}
	return c, nil
}

func runDeadReplay(ctx context.Context, t *tool, opt deadReplayOptions) error {
	choice, err := opt.choice()
	if err != nil {
		return err
	}
	ask := opt.all && !opt.yes && !opt.dryRun
	if ask && (!t.canAsk() || opt.json) {
		return usagef("--all asks at a terminal, and not with --json: say --yes, or --dry-run to see how many")
	}
	box, err := opt.open(ctx, t)
	if err != nil {
		return err
	}
	defer box.Close()
	plan, err := box.Plan(ctx, choice)
	if err != nil {
		return err
	}
	answer := replayed{
		Chosen: plan.Len() + len(plan.Before) + len(plan.Unsure), Before: len(plan.Before), Unsure: len(plan.Unsure), DryRun: opt.dryRun,
	}
	if n := len(plan.Before); n > 0 {
		fmt.Fprintf(t.err, "%d were replayed before and are left out (the first: %s); --again sends them once more\n", n, plan.Before[0])
	}
	if n := len(plan.Unsure); n > 0 {
		fmt.Fprintf(t.err, "%d are left out, since they may have been replayed before: the input no longer holds all that came after them (the first: %s); --again sends them\n",
			n, plan.Unsure[0])
	}
	if opt.dryRun {
		return printReplayed(t, opt, answer, plan.Len())
	}
	if ask && plan.Len() > 0 {
		fmt.Fprintf(t.out, "Send %d events to the input again? [y/N] ", plan.Len())
		if yes, err := t.confirmed(ctx); err != nil || !yes {
			return err
		}
	}
	answer.Sent, err = plan.Send(ctx)
	answer.Before, answer.Unsure = len(plan.Before), len(plan.Unsure)
	if e := printReplayed(t, opt, answer, answer.Sent); err == nil {
		err = e
	}
	return err
}

// replayed is the answer of dead replay --json.
type replayed struct {
	Chosen int  `json:"chosen"`
	Before int  `json:"replayed_before"` // of those, left out
	Unsure int  `json:"unsure"`          // left out too: the input does not say any more
	Sent   int  `json:"sent"`
	DryRun bool `json:"dry_run,omitempty"`
}

func printReplayed(t *tool, opt deadReplayOptions, a replayed, n int) error {
	if opt.json {
		return printJSON(t.out, a)
	}
	verb := "replayed"
	if opt.dryRun {
		verb = "would replay"
	}
	_, err := fmt.Fprintf(t.out, "%s %d of %d dead letters\n", verb, n, a.Chosen)
	return err
}
