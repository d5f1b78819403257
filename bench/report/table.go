package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/bench/trial"
)

// column is one figure of a table.
type column struct {
	head  string
	of    func(trial.Figures) float64
	shows shows
	some  bool // not every row measures it, so that 0 is no figure
}

// shows is what of a row's runs a column shows.
type shows int

const (
	middle shows = iota // the median
	about               // the median, with the least and the most
	most                // the most: a stall or a peak of one run must not disappear
)

var columns = map[Kind][]column{
	Throughput: {
		{"events/s", func(f trial.Figures) float64 { return f.EventsPerSec }, about, false},
		{"CPU s/M", func(f trial.Figures) float64 { return f.CPUPerM }, about, false},
		{"broker CPU s/M", func(f trial.Figures) float64 { return f.BrokerCPUPerM }, middle, false},
		{"peak RSS MB", func(f trial.Figures) float64 { return f.RSSMB }, most, false},
		{"outputs an event", func(f trial.Figures) float64 { return f.OutputsPerEvent }, middle, false},
		{"bytes to disk an event", func(f trial.Figures) float64 { return f.DiskPerEvent }, middle, false},
		{"bytes to Kafka an event", func(f trial.Figures) float64 { return f.KafkaPerEvent }, middle, false},
		{"of them between stages", func(f trial.Figures) float64 { return f.BetweenPerEvent }, middle, true},
		{"start s", func(f trial.Figures) float64 { return f.StartSec }, middle, true},
	},
	Latency: {
		{"p50 ms", func(f trial.Figures) float64 { return f.P50 }, about, false},
		{"p95 ms", func(f trial.Figures) float64 { return f.P95 }, middle, false},
		{"p99 ms", func(f trial.Figures) float64 { return f.P99 }, about, false},
		{"p99.9 ms", func(f trial.Figures) float64 { return f.P999 }, about, false},
		{"max ms", func(f trial.Figures) float64 { return f.Max }, most, false},
		{"CPU, cores", func(f trial.Figures) float64 { return f.CPUShare }, middle, false},
		{"broker CPU, cores", func(f trial.Figures) float64 { return f.BrokerCPUShare }, middle, false},
		{"peak RSS MB", func(f trial.Figures) float64 { return f.RSSMB }, most, false},
		{"outputs an event", func(f trial.Figures) float64 { return f.OutputsPerEvent }, middle, false},
		{"bytes to disk an event", func(f trial.Figures) float64 { return f.DiskPerEvent }, middle, false},
		{"bytes to Kafka an event", func(f trial.Figures) float64 { return f.KafkaPerEvent }, middle, true},
	},
	Restart: {
		{"first output ms", func(f trial.Figures) float64 { return f.FirstOutputMs }, about, false},
		{"groups", func(f trial.Figures) float64 { return f.Groups }, middle, false},
		{"restored groups/s", func(f trial.Figures) float64 { return f.RecordsPerSec }, about, true},
		{"CPU s/M restored", func(f trial.Figures) float64 { return f.CPUPerM }, middle, true},
		{"peak RSS MB", func(f trial.Figures) float64 { return f.RSSMB }, most, false},
	},
	Audit: {
		{"events/s", func(f trial.Figures) float64 { return f.EventsPerSec }, about, false},
		{"CPU s/M", func(f trial.Figures) float64 { return f.CPUPerM }, about, false},
		{"peak RSS MB", func(f trial.Figures) float64 { return f.RSSMB }, most, false},
	},
	Idle: {
		{"CPU, cores", func(f trial.Figures) float64 { return f.CPUShare }, about, false},
		{"broker CPU, cores", func(f trial.Figures) float64 { return f.BrokerCPUShare }, middle, false},
		{"peak RSS MB", func(f trial.Figures) float64 { return f.RSSMB }, most, false},
		{"bytes to Kafka", func(f trial.Figures) float64 { return f.KafkaBytes }, middle, false},
	},
	Queries: {
		{"events/s", func(f trial.Figures) float64 { return f.EventsPerSec }, about, true},
		{"event p99 ms", func(f trial.Figures) float64 { return f.P99 }, middle, true},
		{"get p99 ms", func(f trial.Figures) float64 { return f.GetP99 }, about, true},
		{"top 20 p99 ms", func(f trial.Figures) float64 { return f.TopP99 }, about, true},
		{"scan groups/s", func(f trial.Figures) float64 { return f.RecordsPerSec }, about, true},
		{"groups", func(f trial.Figures) float64 { return f.Groups }, middle, true},
		{"peak RSS MB", func(f trial.Figures) float64 { return f.RSSMB }, most, true},
		{"before the scan", func(f trial.Figures) float64 { return f.BeforeScanMB }, most, true},
	},
}

// table is a work in Markdown.
func (w *Work) table() string {
	all := columns[w.Kind]
	var b strings.Builder
	b.WriteString("| program | commit | runs |")
	for _, c := range all {
		b.WriteString(" " + c.head + " |")
	}
	b.WriteString("\n|---|---|---:|" + strings.Repeat("---:|", len(all)) + "\n")
	for _, r := range w.Rows {
		fmt.Fprintf(&b, "| %s | %s | %d |", r.title(), r.commit(), len(r.Runs))
		if wrong := r.Wrong(); wrong != "" {
			if r.LeftOut == "" {
				wrong = "**wrong**: " + wrong
			}
			fmt.Fprintf(&b, " %s |%s\n", oneLine(wrong), strings.Repeat(" |", len(all)-1))
			continue
		}
		for _, c := range all {
			fmt.Fprintf(&b, " %s |", r.cell(c))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r *Row) title() string {
	if r.Variant == "" {
		return r.Peer
	}
	return r.Peer + ", " + r.Variant
}

func (r *Row) commit() string {
	if r.Interval == 0 {
		return "own"
	}
	return fmt.Sprintf("%d ms", r.Interval.Milliseconds())
}

func (r *Row) cell(c column) string {
	median, low, high := r.spread(c.of)
	switch {
	case len(r.Runs) == 0, c.some && high == 0:
		return ""
	case c.shows == most:
		return number(high)
	case c.shows == middle || len(r.Runs) < 2:
		return number(median)
	}
	return fmt.Sprintf("%s (%s-%s)", number(median), number(low), number(high))
}

// repeated tells what a program repeated over all of its restarts, which is known of all together.
func (w *Work) repeated() string {
	if w.Kind != Restart {
		return ""
	}
	var all, peers []string
	for _, r := range w.sound() {
		if slices.Contains(peers, r.Peer) {
			continue
		}
		peers = append(peers, r.Peer)
		_, _, high := r.spread(func(f trial.Figures) float64 { return f.OutputsRepeated })
		all = append(all, r.Peer+" "+number(high))
	}
	if len(all) == 0 {
		return ""
	}
	return "Outputs that did not raise their count, over all restarts of a program: " + strings.Join(all, ", ") + ".\n"
}

// number has three digits that count, and thousands apart.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 999.5:
		s := fmt.Sprintf("%.0f", roundTo(v, 3))
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// roundTo keeps the first digits of a number of 1,000 or more.
func roundTo(v float64, digits int) float64 {
	unit := 1.0
	for v/unit >= pow10(digits) {
		unit *= 10
	}
	return float64(int64(v/unit+0.5)) * unit
}

func pow10(n int) float64 {
	p := 1.0
	for range n {
		p *= 10
	}
	return p
}

func oneLine(s string) string {
	const most = 160
	s = strings.Join(strings.Fields(strings.ReplaceAll(s, "|", "/")), " ")
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// ratios compare each row of a throughput with tally's of the same interval: above 1, tally does
// better.
func (w *Work) ratios() string {
	if w.Kind != Throughput {
		return ""
	}
	var b strings.Builder
	for _, r := range w.Rows {
		own := w.tallyBeside(r)
		if own == nil || own == r || r.Wrong() != "" || own.Wrong() != "" || len(r.Runs) == 0 || len(own.Runs) == 0 {
			continue
		}
		rate := ratio(own, r, func(f trial.Figures) float64 { return f.EventsPerSec })
		cpu := ratio(r, own, func(f trial.Figures) float64 { return f.CPUPerM })
		rss := ratio(r, own, func(f trial.Figures) float64 { return f.RSSMB })
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.title(), r.commit(), number(rate), number(cpu), number(rss))
	}
	if b.Len() == 0 {
		return ""
	}
	return "How many times better tally is (below 1: worse), by the figures above; of RSS, by the medians of the runs' peaks:\n\n" +
		"| than | commit | events/s | CPU | RSS |\n|---|---|---:|---:|---:|\n" + b.String()
}

// tallyBeside is tally's row of the same interval, or for a peer without one that of the longest.
func (w *Work) tallyBeside(r *Row) *Row {
	var own *Row
	for _, t := range w.Rows {
		if t.Peer != "tally" || t.Variant != r.Variant {
			continue
		}
		if t.Interval == r.Interval {
			return t
		}
		if r.Interval == 0 && (own == nil || t.Interval > own.Interval) {
			own = t
		}
	}
	return own
}

func ratio(above, below *Row, of func(trial.Figures) float64) float64 {
	a, _, _ := above.spread(of)
	b, _, _ := below.spread(of)
	return over(a, b)
}

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
