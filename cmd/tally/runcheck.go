package main

import (
	"net"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/certs"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/port"
)

// memoryMin is the least that a node's caches, batches and fetches can do with.
const memoryMin = 16_000_000

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
	if len(opt.join) > 0 && len(named.Brokers) == 0 && opt.kafkaConfig == "" {
		return usagef("--join without --brokers: the nodes of a cluster count on one Kafka, so say which (`tally broker` starts one for trying out)")
	}
	for _, seed := range opt.join {
		if _, _, err := net.SplitHostPort(strings.TrimSpace(seed)); err != nil {
			return usagef("--join %q: each is HOST:PORT, such as 10.0.0.1:7400", seed)
		}
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
