package main

import (
	"context"
	"os/exec"
	"runtime"
	"strings"

	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/internal/testkafka"
)

func joined(all []string) string      { return strings.Join(all, ",") }
func joinedLines(all []string) string { return strings.Join(all, "\n") }

func versions(ctx context.Context, binary string) []report.Pair {
	return []report.Pair{
		{Name: "tally", Value: firstLine(ctx, binary, "version")},
		{Name: "Apache Kafka", Value: testkafka.Version},
		{Name: "Kafka Streams", Value: peers.StreamsVersion},
		{Name: "PySpark", Value: peers.SparkVersion},
		{Name: "Java", Value: firstLine(ctx, "java", "-version")},
		{Name: "Python", Value: firstLine(ctx, "python3", "--version")},
		{Name: "Go", Value: runtime.Version()},
	}
}

func firstLine(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
