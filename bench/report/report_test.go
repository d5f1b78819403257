package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/bench/trial"
)

func sample() *Results {
	a := &Work{ID: "a", Kind: Throughput, Title: "count per key"}
	const interval = 250 * time.Millisecond
	a.Row("tally", interval, "").Runs = []trial.Figures{
		{EventsPerSec: 1_000_000, CPUPerM: 1, RSSMB: 300}, {EventsPerSec: 1_500_000, CPUPerM: 1.2, RSSMB: 310},
		{EventsPerSec: 1_234_567, CPUPerM: 1.1, RSSMB: 305},
	}
	a.Row("kafka-streams-tuned", interval, "").Runs = []trial.Figures{{EventsPerSec: 123_456, CPUPerM: 11, RSSMB: 1220}}
	a.Row("limit", interval, "").Runs = []trial.Figures{{EventsPerSec: 2_469_134, CPUPerM: 0.55, RSSMB: 610}}
	a.Row("pyspark", 0, "").Runs = []trial.Figures{{EventsPerSec: 1}, {EventsPerSec: 9_999, Wrong: "3 groups wrong, 0 missing"}}
	a.Row("kafka-streams", interval, "").Failed = "it ended:\n| out of memory"
	a.Row("tally", interval, "more").LeftOut = "it needs 38 GB"
	d := &Work{ID: "d", Kind: Latency, Title: "paced"}
	d.Row("tally", 0, "").Runs = []trial.Figures{
		{P50: 12, P95: 20, P99: 40, P999: 50, Max: 60, RSSMB: 80}, {P50: 12, P95: 20, P99: 40, P999: 50, Max: 60, RSSMB: 80},
		{P50: 12, P95: 20, P99: 41, P999: 70, Max: 900, RSSMB: 95}, // a stall
	}
	f := &Work{ID: "f", Kind: Restart, Title: "restart"}
	f.Row("tally", 0, "SIGKILL").Runs = []trial.Figures{{FirstOutputMs: 110, Groups: 5_000_000}}
	f.Row("pyspark", 0, "SIGKILL").Runs = []trial.Figures{{FirstOutputMs: 9000, Groups: 5_000_000, OutputsRepeated: 1234}}
	f.Row("pyspark", 0, "SIGTERM").Runs = []trial.Figures{{FirstOutputMs: 9000, Groups: 5_000_000, OutputsRepeated: 1234}}
	idle := &Work{ID: "d0", Kind: Idle, Title: "no traffic"}
	idle.Row("tally", 0, "").Runs = []trial.Figures{{CPUShare: 0.01, BrokerCPUShare: 0.02, RSSMB: 40}}
	return &Results{Command: "make bench-peers", Scale: 1, Works: []*Work{a, d, idle, f}, Settings: []Pair{{"limit", "x=1"}}}
}

func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	const own = "\n## Where the time goes\n\nBy hand.\n"
	if err := os.WriteFile(path, []byte("stale\n"+Marker+"\n"+own), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sample().Write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{
		"| tally | 250 ms | 3 | 1,230,000 (1,000,000-1,500,000) | 1.10 (1.00-1.20) |",
		"| kafka-streams-tuned | 250 ms | 10.0 | 10.0 | 4.00 |",
		"| limit | 250 ms | 0.50 | 0.50 | 2.00 |", // better than tally, and printed like the others
		"| pyspark | own | 2 | **wrong**: 3 groups wrong, 0 missing |",
		"| kafka-streams | 250 ms | 0 | **wrong**: failed: it ended: / out of memory |",
		"| tally, more | 250 ms | 0 | left out: it needs 38 GB |",
		"| tally, SIGKILL | own | 1 | 110 | 5,000,000 |  |  | 0 |\n", // nothing was restored
		"\nOutputs that did not raise their count, over all restarts of a program: tally 0, pyspark 1,230.\n",
		"| tally | own | 3 | 12.0 (12.0-12.0) | 20.0 | 40.0 (40.0-41.0) | 50.0 (50.0-70.0) | 900 | 0 | 0 | 95.0 |",
		"| tally | own | 1 | 0.01 | 0.02 | 40.0 | 0 |\n", // no byte to Kafka
		"![(d) ms from an event's timestamp to its count, less is better](performance/d-latency.svg)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(page, "9,999") || strings.Contains(page, "stale") {
		t.Error("the page gives a wrong row's figures, or keeps what it should write anew")
	}
	if !strings.HasSuffix(page, Marker+"\n"+own) {
		t.Error("what was written by hand is lost")
	}
	for _, name := range []string{"a-rate.svg", "a-cpu.svg", "d-latency.svg", "f-restart.svg"} {
		svg, err := os.ReadFile(filepath.Join(filepath.Dir(path), "performance", name))
		if err != nil || !strings.Contains(string(svg), "</svg>") || !strings.Contains(string(svg), "tally") {
			t.Errorf("%s is no plot: %v", name, err)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

// TestPageKeepsWhatWasNotRun: a second run of one work leaves the others as they were, each with
// the words of who measured it.
func TestPageKeepsWhatWasNotRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	first := sample()
	first.Versions = []Pair{{"tally", "tally v1"}, {"Apache Kafka", "4.3.0"}}
	first.Settings = append(first.Settings, Pair{"pyspark", "a=1\nb=2"}, Pair{"kafka-streams", "c=3"})
	first.Stamp()
	if err := first.Write(path); err != nil {
		t.Fatal(err)
	}
	d := &Work{ID: "d", Kind: Latency, Title: "paced anew"}
	d.Row("tally", 0, "").Runs = []trial.Figures{{P50: 7}}
	e := &Work{ID: "e", Kind: Latency, Title: "faster"}
	e.Row("tally", 0, "").Runs = []trial.Figures{{P50: 8}}
	second := &Results{Command: "make bench-peers WORK=d,e", Scale: 1, Works: []*Work{d, e}, Settings: []Pair{{"tally", "y=2"}, {"pyspark", "a=2\nb=2"}}}
	second.Versions = []Pair{{"tally", "tally v2"}, {"Apache Kafka", "4.3.1"}}
	second.Stamp()
	if err := second.Write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page, at := string(text), 0
	for _, want := range []string{
		"## (a) count per key\n\nMeasured by `make bench-peers` on 0001-01-01, tally v1.\n",
		"Apache Kafka was 4.3.0 then.\n\n<details><summary>pyspark had other settings then</summary>\n\n```\na=1\nb=2\n```", "## (d) paced anew\n\n|", "## (e) faster\n\n|",
		"## (f) restart\n\nMeasured by", "a=1\nb=2", "y=2", "a=2\nb=2", "x=1", "c=3",
	} {
		i := strings.Index(page[at:], want)
		if i < 0 {
			t.Fatalf("the page has no %q where it should be:\n%s", want, page)
		}
		at += i
	}
	if strings.Contains(page, "kafka-streams had") || strings.Contains(page, "tally was") || strings.Contains(page, "limit had") {
		t.Error("what is as it was is said to be another")
	}
	if strings.Contains(page, "(d) paced\n") {
		t.Error("what was measured again is there twice")
	}
}

// TestPageOfTwoMachines: a work that was measured on another machine, or at another scale, says so.
func TestPageOfTwoMachines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	first := sample()
	first.Machine = []Pair{{"processor", "fast"}, {"system", "linux 1"}}
	if err := first.Write(path); err != nil {
		t.Fatal(err)
	}
	for _, again := range []struct {
		machine, system string
		scale           float64
		said            []string
	}{
		{"fast", "linux 2", 1, nil},
		{"slow", "linux 2", 1, []string{"**On another machine**: processor fast.\n"}},
		{"fast", "linux 1", 0.1, []string{"**At scale 1, where the page is of scale 0.1.**\n"}},
	} {
		d := &Work{ID: "d", Kind: Latency, Title: "paced anew"}
		d.Row("tally", 0, "").Runs = []trial.Figures{{P50: 7}}
		r := &Results{Scale: again.scale, Machine: []Pair{{"processor", again.machine}, {"system", again.system}}, Works: []*Work{d}}
		if err := r.Write(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		own, others, _ := strings.Cut(string(text[strings.Index(string(text), "## (d)"):]), "## (d0)")
		if strings.Contains(own, "**On another") || strings.Contains(own, "**At scale") {
			t.Errorf("what this run has measured is said to be another's: %s", own)
		}
		for _, want := range again.said {
			if !strings.Contains(others, want) {
				t.Errorf("%+v: the page does not say %q", again, want)
			}
		}
		if len(again.said) == 0 && strings.Contains(string(text), "**On another machine**") {
			t.Errorf("%+v: the same machine is said to be another", again)
		}
	}
}

// TestPageWithoutMarker is not overwritten: somebody wrote it.
func TestPageWithoutMarker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, []byte("by hand\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sample().Write(path); err == nil || !strings.Contains(err.Error(), "move the file away") {
		t.Errorf("%v", err)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.123: "0.12", 9.99: "9.99", 9.996: "10.0", 12.34: "12.3", 99.96: "100", 123.4: "123", 1234: "1,230",
		1_234_567: "1,230,000", 999.7: "1,000", 5_000_000: "5,000,000",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is %q, not %q", v, got, want)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	if err := sample().Save(path); err != nil {
		t.Fatal(err)
	}
	r, err := Load(path)
	if err != nil || len(r.Works) != 4 || r.Works[0].Rows[0].Runs[1].EventsPerSec != 1_500_000 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestPageHasNoEmptyTable: a work whose rows were never run replaces nothing.
func TestPageHasNoEmptyTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := sample().Write(path); err != nil {
		t.Fatal(err)
	}
	a := &Work{ID: "a", Kind: Throughput, Title: "cut short"}
	a.Row("tally", 0, "")
	if err := (&Results{Scale: 1, Works: []*Work{a, {ID: "e", Kind: Latency, Title: "not begun"}}}).Write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if page := string(text); !strings.Contains(page, "## (a) count per key\n") || strings.Contains(page, "## (e)") {
		t.Error(page)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "performance", "a-rate.svg")); err != nil {
		t.Error(err)
	}
}
