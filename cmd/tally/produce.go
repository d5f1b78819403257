package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/kafka"
)

type produceOptions struct {
	brokerFlags
	keyFlags
	topic string
}

func newCmdProduce(t *tool) *cobra.Command {
	var opt produceOptions
	cmd := &cobra.Command{
		Use:   "produce --topic TOPIC",
		Short: "Write the lines of stdin to a topic",
		Long: `Write each line of stdin as a record to a topic. Keys are placed as Java's and Python's kafka-python
clients place them (murmur2).`,
		Example: `  echo 'user-1:Spark and Kafka' | tally produce --topic input_event --key-delimiter :
  tally produce --topic orders --json-key customer.id < orders.jsonl`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runProduce(cmd.Context(), t, opt) },
	}
	opt.brokerFlags.add(cmd)
	opt.keyFlags.add(cmd)
	cmd.Flags().StringVar(&opt.topic, "topic", "", "the `TOPIC` to write to")
	return cmd
}

func runProduce(ctx context.Context, t *tool, opt produceOptions) error {
	if opt.topic == "" {
		return usagef("say --topic TOPIC: where the lines go")
	}
	key, err := opt.keyFunc()
	if err != nil {
		return err
	}
	cfg, err := opt.kafka(ctx, t)
	if err != nil {
		return err
	}
	if key == nil {
		fmt.Fprintln(t.err, "tally: without --key-delimiter or --json-key the keys are null, and null keys spread one"+
			" group over the partitions")
	}
	progress := func(acked int) {
		if t.errTTY {
			fmt.Fprintf(t.err, "\rproduced %d records", acked)
		}
	}
	n, err := kafka.ProduceLines(ctx, cfg, kafka.ProduceOptions{Topic: opt.topic, Key: key}, t.in, progress)
	if t.errTTY {
		fmt.Fprint(t.err, "\r")
	}
	fmt.Fprintf(t.err, "produced %d records\n", n)
	return err
}
