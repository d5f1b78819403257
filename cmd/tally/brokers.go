package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/kafka"
)

// brokerFlags say which Kafka a command is about.
type brokerFlags struct {
	serverFlags
	brokers     []string
	kafkaConfig string
}

func (f *brokerFlags) add(cmd *cobra.Command) {
	f.serverFlags.add(cmd)
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", nil,
		"`HOST:PORT,...` of Kafka (default: those in --kafka-config, else the node's at --server)")
	cmd.Flags().StringVar(&f.kafkaConfig, "kafka-config", "", "Java client.properties `FILE` with brokers and security settings")
}

// kafka is the Kafka that is named, and reached; else the node's.
func (f *brokerFlags) kafka(ctx context.Context, t *tool) (kafka.Config, error) {
	cfg, err := f.load(t)
	if err != nil {
		return kafka.Config{}, err
	}
	err = f.complete(ctx, t, &cfg)
	return cfg, err
}

// load reads what flags, file and environment say; its Brokers may be missing.
func (f *brokerFlags) load(t *tool) (kafka.Config, error) {
	cfg, err := kafka.Load(f.brokers, f.kafkaConfig, t.getenv, t.seam)
	if err != nil {
		return kafka.Config{}, &exitError{exitUsage, err}
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(t.err, "tally: %s\n", w)
	}
	return cfg, nil
}

// complete asks the node for its brokers unless some are named, and looks whether they answer.
func (f *brokerFlags) complete(ctx context.Context, t *tool, cfg *kafka.Config) error {
	if len(cfg.Brokers) == 0 {
		client, err := f.client(t)
		if err != nil {
			return err
		}
		st, err := client.Status(ctx)
		if err != nil {
			return fmt.Errorf("%w; or say --brokers HOST:PORT", err)
		}
		cfg.Brokers = st.Kafka.Brokers
	}
	return reach(ctx, *cfg)
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
