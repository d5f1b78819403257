package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/doctor"
	"github.com/tally-kafka/tally/processor/spec"
)

// exitUnhealthy says that doctor found an error, or with --strict a warning.
const exitUnhealthy = 4

type doctorOptions struct {
	brokerFlags
	specs   []string
	app     string
	dataDir string
	strict  bool
	json    bool
}

func newCmdDoctor(t *tool) *cobra.Command {
	var opt doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check Kafka, an app's topics and rights, and this machine",
		Long: `Check Kafka, an app's topics, rights and transactions, and this machine: what would cost a count or
stop a lane, why, and the command that mends it. Nothing is changed.

The apps are those of --spec, or the one of --app at the node, or all that the node runs. With
--brokers no node is asked unless --app is said; without an app only Kafka and this machine are checked.

Exits 4 when there is an error, with --strict also on a warning; 1 when no broker answers.`,
		Example: `  tally doctor
  tally doctor --spec wordcount.yaml --brokers kafka-1:9092 --kafka-config client.properties
  tally doctor --app wordcount --strict --json`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opt.app != "" && sourceOf(cmd.Flag("spec")) != "flag" {
				opt.specs = nil // in settings they are the apps that a node runs
			}
			return runDoctor(cmd.Context(), t, opt)
		},
	}
	opt.brokerFlags.add(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&opt.specs, "spec", nil, "spec `FILE` of an app to check; may be repeated")
	fl.StringVar(&opt.app, "app", "", "`NAME` of an app of the node to check")
	fl.StringVar(&opt.dataDir, "data-dir", "./tally-data", "the node's `DIR` on this machine")
	fl.BoolVar(&opt.strict, "strict", false, "exit 4 on warnings too")
	fl.BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runDoctor(ctx context.Context, t *tool, opt doctorOptions) error {
	if opt.app != "" && len(opt.specs) > 0 {
		return usagef("--spec and --app exclude each other: say one of them")
	}
	specs, err := readSpecs(opt.specs)
	if err != nil {
		return err
	}
	cfg, err := opt.load(t)
	if err != nil {
		return err
	}
	exam := doctor.Options{Kafka: cfg, KafkaConfig: opt.kafkaConfig, DataDir: opt.dataDir}
	if len(cfg.Brokers) == 0 || opt.app != "" {
		if specs, err = opt.askNode(ctx, t, &exam, specs); err != nil {
			return err
		}
	}
	for _, s := range specs {
		exam.Apps = append(exam.Apps, doctorApp(s))
	}
	report, err := doctor.Examine(ctx, exam)
	if err != nil {
		return err
	}
	return opt.print(t, report)
}

// askNode takes what the command line does not say from the node: its brokers and its apps.
func (o doctorOptions) askNode(ctx context.Context, t *tool, exam *doctor.Options, specs []*spec.Spec) ([]*spec.Spec, error) {
	client, err := o.client(t)
	if err != nil {
		return nil, err
	}
	st, err := client.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w; or say --brokers HOST:PORT and --spec FILE", err)
	}
	exam.Node = &st
	if len(exam.Kafka.Brokers) == 0 {
		exam.Kafka.Brokers = st.Kafka.Brokers
	}
	if len(specs) > 0 {
		return specs, nil
	}
	var infos []api.AppInfo
	if o.app == "" {
		infos, err = client.Apps(ctx)
	} else {
		infos = make([]api.AppInfo, 1)
		infos[0], err = client.App(ctx, o.app)
	}
	for _, info := range infos {
		if err != nil {
			break
		}
		var s *spec.Spec
		s, err = spec.Parse([]byte(info.Spec), "the node's spec of "+info.App)
		specs = append(specs, s)
	}
	if err != nil {
		return nil, &exitError{exitFailed, err}
	}
	return specs, nil
}

func doctorApp(s *spec.Spec) doctor.App {
	a := doctor.App{Name: s.App, Input: s.Input.Topic, DeadLetters: s.OnError == spec.Dead, Lanes: s.Lanes,
		TwoStages: s.TwoStages, Repartitions: s.Repartition.Partitions}
	if s.Output != nil {
		a.Output, a.KeyEvent = s.Output.Topic, s.Output.Key == spec.KeyEvent
	}
	return a
}

func (o doctorOptions) print(t *tool, report doctor.Report) error {
	write := report.WriteText
	if o.json {
		write = report.WriteJSON
	}
	if err := write(t.out); err != nil {
		return err
	}
	if !report.Healthy(o.strict) {
		return &exitError{exitUnhealthy, errors.New("")} // the report says it all
	}
	return nil
}
