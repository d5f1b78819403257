package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
)

type moveOptions struct {
	serverFlags
	app  string
	lane string
	node string
	dry  bool
	json bool
	wait time.Duration
}

func newCmdMove(t *tool) *cobra.Command {
	var opt moveOptions
	cmd := &cobra.Command{
		Use:   "move LANE NODE",
		Short: "Move a lane to a node",
		Long: `Move a lane, given as APP/LANE or by its number, to a node, and wait until it runs there. The node
first gets a copy of the lane's values, so that the lane stands still for a moment only.`,
		Example: `  tally move wordcount/3 b
  tally move 3 b --app wordcount --dry-run`,
		Args: argsOf(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.lane, opt.node = args[0], args[1]
			return runMove(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	opt.add(cmd)
	fl.StringVar(&opt.app, "app", "", "`NAME` of the app; may be left out when there is one")
	fl.BoolVar(&opt.dry, "dry-run", false, "say what would move where, and do nothing")
	fl.DurationVar(&opt.wait, "wait", time.Minute, "how long to wait until the lane runs there")
	fl.BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runMove(ctx context.Context, t *tool, opt moveOptions) error {
	text, name := opt.lane, opt.app
	if app, lane, ok := strings.Cut(opt.lane, "/"); ok {
		text, name = lane, app
	}
	lane, err := strconv.Atoi(text)
	if err != nil || lane < 0 {
		return usagef("%q is no lane: say APP/LANE, for example wordcount/3", opt.lane)
	}
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	info, err := client.App(ctx, name)
	if err != nil {
		return err
	}
	began := t.seam.Now()
	answer, err := client.Move(ctx, info.App, lane, api.MoveRequest{To: opt.node, DryRun: opt.dry})
	if err != nil {
		return err
	}
	if !opt.dry && !answer.Done {
		if err := moved(ctx, t, client, answer, opt.wait); err != nil {
			return err
		}
	}
	switch {
	case opt.json:
		return printJSON(t.out, answer)
	case answer.Done:
		fmt.Fprintf(t.out, "%s lane %d is at node %s already\n", answer.App, lane, answer.To)
	case len(answer.Plan) > 0:
		return printPlan(t, answer.Plan)
	case opt.dry:
		fmt.Fprintf(t.out, "%s lane %d  %s -> %s\n", answer.App, lane, orDash(answer.From), answer.To)
		fmt.Fprintln(t.err, "Nothing was done: leave --dry-run out to do it.")
	default:
		fmt.Fprintf(t.out, "%s lane %d  %s -> %s  runs there after %d ms\n", answer.App, lane, orDash(answer.From), answer.To,
			t.seam.Since(began).Milliseconds())
	}
	return nil
}

// moved waits until the lane runs at its new owner, or until the leader has given that up.
func moved(ctx context.Context, t *tool, client *api.Client, m api.MoveAnswer, wait time.Duration) error {
	began := false
	return poll(ctx, t, client, wait, func(st api.Status) error {
		l := laneOf(st, m.App, m.Lane)
		if l.Owner == m.To && l.State == api.LaneRunning && l.Epoch > m.Epoch {
			return nil
		}
		if began = began || l.Target == m.To; began && l.Target == "" && l.Owner != "" && l.Owner != m.To {
			return &overError{fmt.Errorf("%s lane %d stays at node %s: node %s could not take it any more, and the move was given up; "+
				"`tally status` says what it lacks", m.App, m.Lane, l.Owner, m.To)}
		}
		return fmt.Errorf("%s lane %d is at node %s (%s) after %s; the move goes on: see `tally status`",
			m.App, m.Lane, orDash(l.Owner), orDash(l.State), wait)
	})
}
