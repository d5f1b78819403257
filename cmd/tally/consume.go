package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/kafka"
)

type consumeOptions struct {
	brokerFlags
	topic     string
	fromStart bool
	limit     int
	timeout   time.Duration
	json      bool
}

func newCmdConsume(t *tool) *cobra.Command {
	var opt consumeOptions
	cmd := &cobra.Command{
		Use:   "consume --topic TOPIC",
		Short: "Print the committed records of a topic",
		Long: `Print the committed records of a topic, new ones only unless --from-start, as KEY<tab>VALUE or, with
--json, as JSON Lines with partition, offset, time and headers.`,
		Example: `  tally consume --topic output_event --from-start --timeout 2s
  tally consume --topic output_event --limit 10 --json`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runConsume(cmd.Context(), t, opt) },
	}
	opt.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&opt.topic, "topic", "", "the `TOPIC` to read")
	fl.BoolVar(&opt.fromStart, "from-start", false, "begin with the oldest record")
	fl.IntVar(&opt.limit, "limit", 0, "end after so many records (0: no limit)")
	fl.DurationVar(&opt.timeout, "timeout", 0, "end when nothing came for so long (0: never)")
	fl.BoolVar(&opt.json, "json", false, "print JSON Lines")
	return cmd
}

func runConsume(ctx context.Context, t *tool, opt consumeOptions) error {
	switch {
	case opt.topic == "":
		return usagef("say --topic TOPIC: what to read")
	case opt.limit < 0 || opt.timeout < 0:
		return usagef("--limit and --timeout are not negative")
	}
	cfg, err := opt.kafka(ctx, t)
	if err != nil {
		return err
	}
	err = kafka.Consume(ctx, cfg, kafka.ConsumeOptions{
		Topic: opt.topic, FromStart: opt.fromStart, Limit: opt.limit, Timeout: opt.timeout,
	}, func(r kafka.Record) error {
		if opt.json {
			return printJSON(t.out, wireRecord(r))
		}
		_, err := fmt.Fprintf(t.out, "%s\t%s\n", r.Key, r.Value)
		return err
	})
	return endless(ctx, err)
}

// consumedRecord is a line of consume --json. A null key or value is null; bytes that are not UTF-8
// are {"b64":"..."}.
type consumedRecord struct {
	Topic       string           `json:"topic"`
	Partition   int32            `json:"partition"`
	Offset      int64            `json:"offset"`
	TimestampMs int64            `json:"timestamp_ms"`
	Key         any              `json:"key"`
	Value       any              `json:"value"`
	Headers     []consumedHeader `json:"headers"`
}

type consumedHeader struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

func wireRecord(r kafka.Record) consumedRecord {
	w := consumedRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, TimestampMs: r.TimestampMs,
		Key: wireBytes(r.Key), Value: wireBytes(r.Value), Headers: []consumedHeader{}}
	for _, h := range r.Headers {
		w.Headers = append(w.Headers, consumedHeader{h.Key, wireBytes(h.Value)})
	}
	return w
}

func wireBytes(b []byte) any {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		return string(b)
	}
	return map[string]string{"b64": base64.StdEncoding.EncodeToString(b)}
}
