package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/kafka"
)

// brokerFlags say which Kafka produce and consume use.
type brokerFlags struct {
	serverFlags
	brokers     []string
	kafkaConfig string
}

func (f *brokerFlags) add(cmd *cobra.Command) {
	f.serverFlags.add(cmd)
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", nil, "`HOST:PORT,...` of Kafka (default: the node's at --server)")
	cmd.Flags().StringVar(&f.kafkaConfig, "kafka-config", "", "Java client.properties `FILE` with security settings")
}

// kafka asks the node for its brokers unless they are said.
func (f *brokerFlags) kafka(ctx context.Context, t *tool) (kafka.Config, error) {
	brokers := f.brokers
	if len(brokers) == 0 {
		client, err := f.client(t)
		if err != nil {
			return kafka.Config{}, err
		}
		st, err := client.Status(ctx)
		if err != nil {
			return kafka.Config{}, fmt.Errorf("%w; or say --brokers HOST:PORT", err)
		}
		brokers = st.Kafka.Brokers
	}
	cfg, err := kafka.Load(brokers, f.kafkaConfig, t.getenv, t.seam)
	if err != nil {
		return kafka.Config{}, &exitError{exitUsage, err}
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(t.err, "tally: %s\n", w)
	}
	return cfg, reach(ctx, cfg)
}

// reachTimeout is how long a Kafka that does not answer is tried.
const reachTimeout = 10 * time.Second

// reach gives up on brokers that do not answer; the client would try them without an end.
func reach(ctx context.Context, cfg kafka.Config) error {
	admin, err := kafka.NewAdmin(cfg)
	if err != nil {
		return err
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	return admin.Reachable(ctx)
}

// keyFlags say how a line is taken apart into key and value.
type keyFlags struct {
	delimiter string
	jsonPath  string
}

func (f *keyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.delimiter, "key-delimiter", "", "the key is what is before the first `C`, the value what is behind it")
	cmd.Flags().StringVar(&f.jsonPath, "json-key", "", "the key is the value at this `PATH` of a JSON line, the value the whole line")
}

// keyFunc is nil when no key option is said: then keys are null.
func (f *keyFlags) keyFunc() (kafka.KeyFunc, error) {
	switch {
	case f.delimiter != "" && f.jsonPath != "":
		return nil, usagef("--key-delimiter and --json-key exclude each other: say one of them")
	case f.delimiter != "":
		return kafka.KeyByDelimiter(f.delimiter), nil
	case f.jsonPath != "":
		key, err := kafka.KeyByJSONPath(f.jsonPath)
		if err != nil {
			return nil, usagef("--json-key: %w", err)
		}
		return key, nil
	}
	return nil, nil
}
