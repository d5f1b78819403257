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
	both bool // the command line says --app: it must agree with APP/LANE
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
first gets a copy of the lane's values, so that the lane stands still for a moment only. A move that
is under way is taken back by a move to the node that still runs the lane, also one that was begun to
make shares even: another lane goes in its place. A lane that was moved, or asked to stay, is the last
one that its node gives away for that.`,
		Example: `  tally move wordcount/3 b
  tally move 3 b --app wordcount --dry-run`,
		Args: names(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.lane, opt.node = args[0], args[1]
			opt.both = sourceOf(cmd.Flag("app")) == "flag"
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
	if err := checkPollWait(opt.wait); err != nil {
		return err
	}
	name, lane, err := opt.laneAsked()
	if err != nil {
		return err
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
	already := answer.Done
	if !opt.dry && !already {
		if err := moved(ctx, t, client, answer, opt.wait); err != nil {
			return err
		}
		answer.Done = true
	}
	switch {
	case opt.json:
		return printJSON(t.out, answer)
	case already && answer.TakenBack != "":
		fmt.Fprintf(t.out, "%s lane %d stays at node %s: its move to node %s was taken back\n", answer.App, lane, shown(answer.To), shown(answer.TakenBack))
	case already:
		fmt.Fprintf(t.out, "%s lane %d is at node %s already\n", answer.App, lane, shown(answer.To))
	case len(answer.Plan) > 0:
		return printPlan(t, answer.Plan)
	case opt.dry:
		fmt.Fprintf(t.out, "%s lane %d  %s -> %s\n", answer.App, lane, orDash(shown(answer.From)), shown(answer.To))
		fmt.Fprintln(t.err, "Nothing was done: leave --dry-run out to do it.")
	default:
		fmt.Fprintf(t.out, "%s lane %d  %s -> %s  runs there after %d ms\n", answer.App, lane, orDash(shown(answer.From)), shown(answer.To),
			t.seam.Since(began).Milliseconds())
	}
	return nil
}

// laneAsked is the lane that the arguments name, and its app, "" for the only one.
func (opt moveOptions) laneAsked() (app string, lane int, err error) {
	app, text, both := strings.Cut(opt.lane, "/")
	if !both {
		app, text = opt.app, opt.lane
	}
	lane, err = strconv.Atoi(text)
	if err != nil || lane < 0 {
		return "", 0, usagef("%q is no lane: say APP/LANE, for example wordcount/3", opt.lane)
	}
	if opt.both && app != opt.app {
		return "", 0, usagef("%s is a lane of app %s, and --app says %s: say the app once", opt.lane, app, opt.app)
	}
	return app, lane, nil
}

// moved waits until the lane runs at its new owner or has ended there on an error, or until the
// leader has given that up.
func moved(ctx context.Context, t *tool, client *api.Client, m api.MoveAnswer, wait time.Duration) error {
	began := false
	return poll(ctx, t, client, wait, func(st api.Status) error {
		l := laneOf(st, m.App, m.Lane)
		if l.Owner == m.To && l.State == api.LaneRunning && l.Epoch > m.Epoch {
			return nil
		}
		if l.Owner == m.To && ended(l) {
			return &overError{fmt.Errorf("%s lane %d is at node %s now, and does not run there: it is %s, since %s",
				m.App, m.Lane, l.Owner, l.State, shown(l.Reason))}
		}
		if began = began || l.Target == m.To; began && l.Target == "" && l.Owner != "" && l.Owner != m.To {
			return &overError{fmt.Errorf("%s lane %d stays at node %s: node %s could not take it any more, which `tally status` explains, "+
				"or somebody has taken the move back", m.App, m.Lane, l.Owner, m.To)}
		}
		return fmt.Errorf("%s lane %d is at node %s (%s) after %s; the move goes on: see `tally status`",
			m.App, m.Lane, orDash(l.Owner), orDash(l.State), wait)
	})
}
