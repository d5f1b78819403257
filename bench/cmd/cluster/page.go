package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tally-kafka/tally/bench/failover"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// marker is the line below which people write. What is there is kept.
const marker = "<!-- Written by hand from here on; `make bench-cluster` keeps it. -->"

// page is what is written: every part as it was measured last, each with its date and commit, so
// that a run of some parts leaves the others as they are.
type page struct {
	out     string
	commit  string
	date    string
	machine []report.Pair
	parts   map[string]measured
}

// measured is a part with what it was measured on.
type measured struct {
	Table  failover.Table
	Date   string
	Commit string
	With   string // settings that differ from the usual
	// Machine in a line; "" in what was measured before pages said so.
	Machine string
}

// openPage takes up what is there.
func openPage(ctx context.Context, o options, now time.Time) (*page, error) {
	p := &page{
		out: o.out, machine: report.Machine(), date: now.UTC().Format("2006-01-02"), parts: map[string]measured{},
		commit: command(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12"),
	}
	if _, err := report.HandWritten(o.out, marker); err != nil { // said now, and not when all is measured
		return nil, err
	}
	text, err := os.ReadFile(p.kept())
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &p.parts)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, what was measured before: %w", p.kept(), err)
	}
	return p, nil
}

// kept is the file with the parts as they were measured.
func (p *page) kept() string {
	return filepath.Join(strings.TrimSuffix(p.out, filepath.Ext(p.out)), "results.json")
}

// add takes a part, and writes the page anew.
func (p *page) add(part, with string, t failover.Table) error {
	p.parts[part] = measured{Table: t, Date: p.date, Commit: p.commit, With: with, Machine: report.MachineLine(p.machine)}
	fmt.Println(t.Markdown())
	text, err := json.MarshalIndent(p.parts, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.kept()), 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(p.kept(), append(text, '\n'), 0o644), p.write())
}

func (p *page) write() error {
	own, err := report.HandWritten(p.out, marker)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(`# Performance of a cluster

Written by ` + "`make bench-cluster`" + `, part by part; below each table stands when and at which commit.

All nodes, Kafka and who measures share one machine, so that a fault's gap has in it what starting a
process costs the others. After each part the counts are compared with a recount of its input: a row
that does not agree says **wrong**, and so does one that could not be measured.

`)
	for _, part := range allParts {
		if m, ok := p.parts[part]; ok {
			fmt.Fprintf(&b, "%s\n`PARTS=%s`, %s, commit %s%s", m.Table.Markdown(), part, m.Date, m.Commit, m.With)
			if m.Machine != "" && m.Machine != report.MachineLine(p.machine) {
				fmt.Fprintf(&b, ", **on another machine**: %s", m.Machine)
			}
			b.WriteString(".\n\n")
		}
	}
	b.WriteString("## Machine and versions\n\n| | |\n|---|---|\n")
	for _, line := range p.machine {
		fmt.Fprintf(&b, "| %s | %s |\n", line.Name, line.Value)
	}
	fmt.Fprintf(&b, "| Go | %s |\n| Apache Kafka | %s |\n", runtime.Version(), testkafka.Version)
	b.WriteString("\nTo get this page again: a JDK 17, Maven and Go, nothing else that is busy on the machine, and `make bench-cluster`.\n" +
		"TRIES=3, PARTS=gaps,reads, FAULTS=\"owner killed\" and GROUPS=1000000 run less, and write `.cache/cluster-performance.md`,\n" +
		"unless PAGE= says another file.\n")
	b.WriteString("\n" + marker + "\n" + own)
	return os.WriteFile(p.out, []byte(b.String()), 0o644)
}

func command(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}
