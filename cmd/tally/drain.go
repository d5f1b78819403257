package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
)

type drainOptions struct {
	serverFlags
	node string
	undo bool
	dry  bool
	json bool
	wait time.Duration
}

func newCmdDrain(t *tool) *cobra.Command {
	var opt drainOptions
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Move all lanes away from a node, and give it none until --undo or its next start",
		Long: `Move all lanes of a node to the others, a few at a time, and wait until it has none; it gets no new
ones until --undo, or until it is started again. Lanes that run go first; one that has stopped on an
error goes too, and is not waited for to run. A stop by SIGTERM drains by itself.`,
		Example: `  tally drain b --dry-run
  tally drain b
  tally drain b --undo`,
		Args: names(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.node = args[0]
			return runDrain(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	opt.add(cmd)
	fl.BoolVar(&opt.undo, "undo", false, "let the node have lanes again")
	fl.BoolVar(&opt.dry, "dry-run", false, "say which lanes would move where, and do nothing")
	fl.DurationVar(&opt.wait, "wait", time.Minute, "how long to wait until the lanes have moved")
	fl.BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runDrain(ctx context.Context, t *tool, opt drainOptions) error {
	if err := checkPollWait(opt.wait); err != nil {
		return err
	}
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	began := t.seam.Now()
	answer, err := client.Drain(ctx, opt.node, api.DrainRequest{Undo: opt.undo, DryRun: opt.dry})
	if err != nil {
		return err
	}
	if !opt.dry && !opt.undo {
		if err := drained(ctx, t, client, &answer, opt.wait); err != nil {
			return err
		}
	}
	if opt.json {
		return printJSON(t.out, answer)
	}
	if len(answer.Plan) > 0 {
		return printPlan(t, answer.Plan)
	}
	for _, m := range answer.Moves { // none of an undo
		fmt.Fprintf(t.out, "%s lane %d  %s -> %s\n", m.App, m.Lane, orDash(shown(m.From)), orDash(shown(m.To)))
	}
	switch {
	case opt.dry:
		fmt.Fprintln(t.err, "Nothing was done: leave --dry-run out to do it.")
	case opt.undo:
		fmt.Fprintf(t.out, "node %s may have lanes again\n", shown(answer.Node))
	default:
		fmt.Fprintf(t.out, "node %s has no lanes any more, after %d ms\n", shown(answer.Node), t.seam.Since(began).Milliseconds())
	}
	return nil
}

// drained waits until the node owns no lane, and those that it had run elsewhere, but for the ones
// that wait for a person; the answer then says where, which may be another node than was planned.
func drained(ctx context.Context, t *tool, client *api.Client, answer *api.DrainAnswer, wait time.Duration) error {
	moving := map[string]bool{}
	for _, m := range answer.Moves {
		moving[fmt.Sprintf("%s/%d", m.App, m.Lane)] = true
	}
	return poll(ctx, t, client, wait, func(st api.Status) error {
		for _, n := range st.Nodes {
			if n.Name == answer.Node && n.Lanes > 0 {
				return fmt.Errorf("node %s still has lanes after %s (%d left); each moves as soon as another node can take it: see `tally status`", answer.Node, wait, n.Lanes)
			}
		}
		for _, a := range st.Apps {
			for _, l := range a.Lanes {
				if moving[fmt.Sprintf("%s/%d", a.App, l.Lane)] && l.State != api.LaneRunning && !ended(l) {
					return fmt.Errorf("node %s has no lanes any more, but lane %d of app %s does not run at %s yet after %s: see `tally status`",
						answer.Node, l.Lane, a.App, orDash(l.Owner), wait)
				}
			}
		}
		for i, m := range answer.Moves {
			l := laneOf(st, m.App, m.Lane)
			answer.Moves[i].To = l.Owner
			if ended(l) {
				fmt.Fprintf(t.err, "%s lane %d is at node %s now, and does not run there: it is %s, since %s\n",
					m.App, m.Lane, shown(l.Owner), l.State, shown(l.Reason))
			}
		}
		return nil
	})
}

// printPlan says what the leader foresees of a dry run.
func printPlan(t *tool, plan []string) error {
	for _, line := range plan {
		fmt.Fprintln(t.out, shown(line))
	}
	fmt.Fprintln(t.err, "Nothing was done: leave --dry-run out to do it.")
	return nil
}
