package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/processor/spec"
)

type resetOptions struct {
	serverFlags
	dataDir string
	from    string
	specs   []string
	yes     bool
	json    bool
	app     string
}

func newCmdReset(t *tool) *cobra.Command {
	var opt resetOptions
	cmd := &cobra.Command{
		Use:   "reset APP",
		Short: "Start an app anew: delete its counts and count again",
		Long: `Start an app anew in a new generation: delete its changelog, dead letters, consumer group and state,
and count again from where --from says. The output topic stays as it is; what the app writes there
from then on says the new generation in the header tally.generation.

Without --yes it shows what would be deleted, and on a terminal asks. While no node answers, the reset
is noted in the data dir, and the next ` + "`tally run`" + ` does it: the way out when an app cannot start.`,
		Example: `  tally reset wordcount
  tally reset wordcount --yes --from 2h
  tally reset wordcount --yes --spec new.yaml --from 2026-01-31T18:00:00Z`,
		Args: names(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.app = args[0]
			if sourceOf(cmd.Flag("spec")) != "flag" {
				opt.specs = nil // in settings they are the apps that a node runs
			}
			return runReset(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	opt.add(cmd)
	fl.StringVar(&opt.dataDir, "data-dir", "./tally-data", "the node's `DIR`, where the reset is noted while no node answers")
	fl.StringVar(&opt.from, "from", "", "count from: earliest, latest, a `TIME`, or so long ago such as 2h (default: the spec's input.start)")
	fl.StringSliceVar(&opt.specs, "spec", nil, "spec `FILE` to go on with (default: the present spec); counts on the command line only")
	fl.BoolVar(&opt.yes, "yes", false, "do it")
	fl.BoolVar(&opt.json, "json", false, "print JSON, and do not ask")
	return cmd
}

func runReset(ctx context.Context, t *tool, opt resetOptions) error {
	if _, err := api.ParseFrom(opt.from, t.seam.Now()); err != nil {
		return usagef("--from %w", err)
	}
	req := api.ResetRequest{From: opt.from, DryRun: !opt.yes}
	s, err := specOf(opt.app, opt.specs)
	if err != nil {
		return err
	}
	if s != nil {
		req.Spec = string(s.YAML())
	}
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	answer, err := client.Reset(ctx, opt.app, req)
	var none *api.NoNodeError
	if errors.As(err, &none) {
		if node.HasApp(opt.dataDir, opt.app) {
			return noteReset(t, opt, s, none)
		}
		return fmt.Errorf("%w; where none can start, say --data-dir with the node's: %s has no app %s", err, opt.dataDir, opt.app)
	}
	if err == nil && !opt.yes && !opt.json && t.canAsk() {
		if yes, err := askReset(ctx, t, answer); err != nil || !yes {
			return err
		}
		req.DryRun = false
		answer, err = client.Reset(ctx, opt.app, req)
	}
	if err != nil {
		return err
	}
	return printReset(t, opt, answer)
}

// specOf is the app's spec among those in the files, nil when there are no files.
func specOf(app string, files []string) (*spec.Spec, error) {
	specs, err := readSpecs(files)
	if err != nil || len(specs) == 0 {
		return nil, err
	}
	for _, s := range specs {
		if s.App == app {
			return s, nil
		}
	}
	return nil, usagef("--spec: %s is the spec of app %s, not of %s", files[0], specs[0].App, app)
}

// notedReset is the answer of reset --json where no node answers.
type notedReset struct {
	Noted *string `json:"noted"` // the file that tells the next start; null without --yes
}

// noteReset leaves the reset to the next start.
func noteReset(t *tool, opt resetOptions, s *spec.Spec, none error) error {
	var answer notedReset
	if opt.yes {
		file, err := node.NoteReset(opt.dataDir, opt.app, opt.from, s, t.seam)
		if err != nil {
			return err
		}
		answer.Noted = &file
		fmt.Fprintf(t.err, "no node answers at %s: the reset is noted in %s, and the next `tally run --data-dir %s` does it\n",
			opt.server, file, opt.dataDir)
	} else {
		fmt.Fprintf(t.err, "%v\nWith --yes the reset is noted in %s, and the next `tally run` there deletes what app %s has counted and counts anew.\n",
			none, opt.dataDir, opt.app)
	}
	if opt.json {
		return printJSON(t.out, answer)
	}
	return nil
}

func askReset(ctx context.Context, t *tool, plan api.ResetAnswer) (bool, error) {
	resetText(t.out, plan)
	fmt.Fprint(t.out, "Reset? [y/N] ")
	return t.confirmed(ctx)
}
