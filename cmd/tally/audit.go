package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/audit"
	"github.com/tally-kafka/tally/processor/spec"
)

const (
	exitDiffers   = 4 // the audit found a difference
	exitUndecided = 6 // the audit could not decide
)

type auditOptions struct {
	brokerFlags
	app     string
	specs   []string
	json    bool
	askNode bool // also where nothing is missing
}

func newCmdAudit(t *tool) *cobra.Command {
	var opt auditOptions
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Recount the input and compare it with all that an app has written",
		Long: `Read an app's input up to the committed offsets, recount it, and compare the output, the changelog,
the node's answers, the consumer group's offsets, the position records and the dead letters with the
recount. Of an app of two stages, what lies between the stages is compared too. The app may run
meanwhile, under load too.

The node at --server says the spec, and the brokers unless they are named. Without a node, say --spec
and --brokers; then the node's answers are left out. The recount goes through files in the system's
temporary directory.

Exits 0 when all is exact, 4 when something differs, 6 when something could not be compared.`,
		Example: `  tally audit
  tally audit --app wordcount --json
  tally audit --spec wordcount.yaml --brokers kafka-1:9092`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if sourceOf(cmd.Flag("spec")) != "flag" {
				opt.specs = nil // in settings they are the apps that a node runs
			}
			opt.askNode = cmd.Flag("server").Changed
			return runAudit(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&opt.app, "app", "", "`NAME` of the app; may be left out when there is one")
	fl.StringSliceVar(&opt.specs, "spec", nil, "spec `FILE` of the app (default: the node's); counts on the command line only")
	fl.BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runAudit(ctx context.Context, t *tool, opt auditOptions) error {
	cfg, err := opt.load(t)
	if err != nil {
		return err
	}
	s, node, err := opt.resolve(ctx, t, len(cfg.Brokers) > 0)
	if err != nil {
		return err
	}
	if err := opt.complete(ctx, t, &cfg); err != nil {
		return err
	}
	report, err := audit.Run(ctx, audit.Config{
		Spec: s, Kafka: cfg, Node: node, Seam: t.seam, Progress: t.err, TTY: t.errTTY,
	})
	if err != nil {
		return err
	}
	if opt.json {
		err = printJSON(t.out, report)
	} else {
		err = printAudit(t.out, report)
	}
	return errors.Join(err, auditExit(report.Verdict))
}

// auditExit is an error without a text, since the report has said it all.
func auditExit(v audit.Verdict) error {
	switch v {
	case audit.Differences:
		return &exitError{exitDiffers, errors.New("")}
	case audit.Undecided:
		return &exitError{exitUndecided, errors.New("")}
	}
	return nil
}

// resolve finds the spec, and the node that answers for the app; nil when none is to be asked.
func (o *auditOptions) resolve(ctx context.Context, t *tool, brokersNamed bool) (*spec.Spec, *audit.Node, error) {
	var s *spec.Spec
	if len(o.specs) > 1 {
		return nil, nil, usagef("an audit is of one app: say one --spec, not %d", len(o.specs))
	}
	if len(o.specs) == 1 {
		var err error
		if s, err = readSpec(o.specs[0]); err != nil {
			return nil, nil, err
		}
		if o.app != "" && o.app != s.App {
			return nil, nil, usagef("%s is the spec of app %s, not of %s: say one of --spec and --app", o.specs[0], s.App, o.app)
		}
		o.app = s.App
	}
	if s != nil && brokersNamed && !o.askNode {
		return s, nil, nil
	}
	client, err := o.client(t)
	if err != nil {
		return nil, nil, err
	}
	info, err := client.App(ctx, o.app)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; without a node, say --spec FILE and --brokers HOST:PORT", err)
	}
	if s == nil {
		if s, err = spec.Parse([]byte(info.Spec), "the node's spec of "+info.App); err != nil {
			return nil, nil, &exitError{exitFailed, err}
		}
	}
	return s, auditedNode(client, info), nil
}
