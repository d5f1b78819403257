package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/internal/testkafka"
)

func joined(all []string) string      { return strings.Join(all, ",") }
func joinedLines(all []string) string { return strings.Join(all, "\n") }

// machine says on what all ran.
func machine() []report.Pair {
	memory := valueOf("/proc/meminfo", "MemTotal")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // "" says as much
	return []report.Pair{
		{Name: "processor", Value: valueOf("/proc/cpuinfo", "model name")},
		{Name: "cores", Value: fmt.Sprint(runtime.NumCPU())},
		{Name: "memory", Value: memory},
		{Name: "system", Value: runtime.GOOS + "/" + runtime.GOARCH + " " + strings.TrimSpace(string(kernel))},
	}
}

// valueOf finds the first "name : value" of a file.
func valueOf(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if field, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(field) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

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
