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
touched: what is submitted later under the name counts from the beginning, and its outputs there say
the next generation in the header tally.generation.`,
		Example: `  tally delete wordcount
  tally delete wordcount --topics`,
		Args: argsOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.app = args[0]
			return runDelete(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	opt.add(cmd)
	fl.BoolVar(&opt.topics, "topics", false, "also delete the topics that tally owns: the changelog, dead letters, repartition")
	fl.BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runDelete(ctx context.Context, t *tool, opt deleteOptions) error {
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	answer, err := client.Delete(ctx, opt.app, opt.topics)
	if err != nil {
		return err
	}
	if opt.json {
		return printJSON(t.out, answer)
	}
	if len(answer.Topics) == 0 {
		_, err = fmt.Fprintf(t.out, "app %s is stopped; its topics and offsets stay\n", answer.App)
		return err
	}
	_, err = fmt.Fprintf(t.out, "app %s is stopped; deleted %s\n", answer.App, strings.Join(answer.Topics, ", "))
	return err
}
