package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

type deleteOptions struct {
	serverFlags
	app    string
	topics bool
	yes    bool
	json   bool
}

func newCmdDelete(t *tool) *cobra.Command {
	var opt deleteOptions
	cmd := &cobra.Command{
		Use:   "delete APP",
		Short: "Stop an app everywhere",
		Long: `Stop an app on all nodes. Its topics and its consumer group's offsets stay, so that the same spec,
submitted again, goes on where it was; with --topics the topics that tally owns are deleted, and all
that it has counted with them, once Kafka can do so: until then it waits. The output topic is never
touched: what is submitted later under the name counts from where its input.start says, and its
outputs there say the next generation in the header tally.generation.

With --topics it wants --yes, or asks at a terminal.`,
		Example: `  tally delete wordcount
  tally delete wordcount --topics --yes`,
		Args: names(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.app = args[0]
			return runDelete(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	opt.add(cmd)
	fl.BoolVar(&opt.topics, "topics", false, "also delete the topics that tally owns: the changelog, dead letters, repartition")
	fl.BoolVar(&opt.yes, "yes", false, "do it, also with --topics")
	fl.BoolVar(&opt.json, "json", false, "print JSON, and do not ask")
	return cmd
}

func runDelete(ctx context.Context, t *tool, opt deleteOptions) error {
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	if opt.topics && !opt.yes {
		if opt.json || !t.canAsk() {
			return usagef("--topics deletes all that app %s has counted: say --yes to do it", opt.app)
		}
		fmt.Fprintf(t.out, "Stop app %s, and delete all that it has counted? [y/N] ", opt.app)
		if yes, err := t.confirmed(ctx); err != nil || !yes {
			return err
		}
	}
	answer, err := client.Delete(ctx, opt.app, opt.topics)
	if err != nil {
		return err
	}
	if opt.json {
		return printJSON(t.out, answer)
	}
	what := "its topics and offsets stay"
	switch {
	case len(answer.Topics) > 0:
		what = "deleted " + strings.Join(answer.Topics, ", ")
	case opt.topics:
		what = "of its topics none was there any more"
	}
	_, err = fmt.Fprintf(t.out, "app %s is stopped; %s\n", answer.App, what)
	return err
}
