package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tally-kafka/tally/bench/failover"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// marker is the line below which people write. What is there is kept.
const marker = "<!-- Written by hand from here on; `make bench-cluster` keeps it. -->"

// page is what is written in the end.
type page struct {
	began  time.Time
	took   time.Duration
	tables []failover.Table
}

func (p *page) add(t failover.Table) {
	p.tables = append(p.tables, t)
	fmt.Println(t.Markdown())
}

func (p *page) write(ctx context.Context, o options) error {
	var own string
	if before, err := os.ReadFile(o.out); err == nil {
		_, own, _ = strings.Cut(string(before), marker+"\n")
	}
	var b strings.Builder
	b.WriteString("# Performance of a cluster\n\n")
	fmt.Fprintf(&b, "Written by `make bench-cluster` on %s, in %v, at commit %s.\n", p.began.UTC().Format("2006-01-02"),
		p.took.Round(time.Second), command(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12"))
	if !o.whole() {
		fmt.Fprintf(&b, "\n**This is a run of a part: tries %d, rate %d, groups %d, faults %q, peers %q, parts %q.**\n",
			o.tries, o.rate, o.groups, o.faults, o.peers, o.parts)
	}
	b.WriteString(`
All nodes, Kafka and who measures share one machine, so that a fault's gap has in it what starting a
process costs the others. After each part the counts are compared with a recount of its input: a row
that does not agree says **wrong**, and so does one that could not be measured.

`)
	for _, t := range p.tables {
		b.WriteString(t.Markdown() + "\n")
	}
	b.WriteString("## Machine and versions\n\n| | |\n|---|---|\n")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // "" says as much
	fmt.Fprintf(&b, "| processor | %s, %d cores |\n| system | %s/%s %s |\n| Go | %s |\n| Apache Kafka | %s |\n",
		cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, strings.TrimSpace(string(kernel)), runtime.Version(), testkafka.Version)
	b.WriteString("\nTo get this page again: a JDK 17, Maven and Go, nothing else that is busy on the machine, and `make bench-cluster`;\n" +
		"TRIES=3, PARTS=gaps,reads, FAULTS=\"owner killed\" and GROUPS=1000000 run less, and write `.cache/cluster-performance.md`.\n")
	b.WriteString("\n" + marker + "\n" + own)
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(o.out, []byte(b.String()), 0o644)
}

func command(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if field, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(field) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
