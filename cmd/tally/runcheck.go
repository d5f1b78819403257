package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tally-kafka/tally/internal/certs"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/internal/port"
)

// memoryMin is the least that a node's caches, batches and fetches can do with.
const memoryMin = 16_000_000

// saidEmpty refuses a flag whose value on the command line is empty, as of a variable that is not
// set: its default would be a node with another name, another broker or no guard. It is no rule for
// all commands: elsewhere an empty flag is one that is left out, as the first --min-position of a
// script's loop is, and the command line's way to undo a setting such as TALLY_KEY_DELIMITER.
func saidEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if v := f.Value.String(); sourceOf(f) == "flag" && (v == "" || v == "[]") && err == nil {
			err = usagef("--%s is empty: say a value, or leave it out", f.Name)
		}
	})
	return err
}

// check refuses what cannot be meant, before anything is opened.
func (opt *runOptions) check(t *tool) error {
	if opt.createTopics < 0 {
		return usagef("--create-topics %d: say the number of partitions, from 1", opt.createTopics)
	}
	if opt.onGap != "stop" && opt.onGap != "skip" {
		return usagef("--on-gap %q: say stop or skip", opt.onGap)
	}
	if opt.commitMax < 10*time.Millisecond || opt.commitMax > 10*time.Second {
		return usagef("--commit-max %v: say a duration from 10ms to 10s", opt.commitMax)
	}
	if opt.memory < memoryMin {
		return usagef("--memory %s: at least 16MB", &opt.memory)
	}
	named, err := kafka.Load(opt.brokers, opt.kafkaConfig, t.getenv, t.seam)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if err := opt.checkJoin(len(named.Brokers) > 0 || opt.kafkaConfig != ""); err != nil {
		return err
	}
	if err := checkStandbys(opt.standbys); err != nil {
		return err
	}
	if opt.zone != "" && !certs.IsName(opt.zone) {
		return usagef("--zone %q cannot be the name of a zone: it is %s", opt.zone, certs.NameRule)
	}
	listen := port.Config{Listen: opt.listen, Advertise: opt.advertise, Certs: opt.certs, Tokens: opt.tokens, Node: opt.node}
	if err := port.Check(listen); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// checkJoin refuses seeds that cannot be, or not with what else is said. kafka says whether a Kafka
// is named.
func (opt *runOptions) checkJoin(kafka bool) error {
	switch {
	case len(opt.join) == 0:
		return nil
	case !kafka:
		return usagef("--join without --brokers: the nodes of a cluster count on one Kafka, so say which (`tally broker` starts one for trying out)")
	case opt.tokens != "" && opt.certs == "":
		return usagef("--join with --tokens and without --certs: where people are told apart by tokens, nodes know each other by certificates (see tally certs); " +
			"say both, or none of the two")
	}
	if err := node.CheckJoin(opt.join); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// nodeName is the name that was said, or else the host's. A host's name that cannot be a node's is
// refused and not mended: two hosts might come to one name.
func nodeName(said string, hostname func() (string, error)) (string, error) {
	if said != "" && !certs.IsName(said) {
		return "", usagef("--node %q cannot be the name of a node: it is %s", said, certs.NameRule)
	}
	if said != "" {
		return said, nil
	}
	host, err := hostname()
	if err != nil {
		return "", usagef("the host has no name (%v): say --node NAME", err)
	}
	if !certs.IsName(host) {
		return "", usagef("the host's name %q cannot be the name of a node, which is %s: say --node NAME", host, certs.NameRule)
	}
	return host, nil
}
