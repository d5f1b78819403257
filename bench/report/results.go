package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/bench/trial"
)

// Results are those of one command on one machine.
type Results struct {
	Began    time.Time
	Took     time.Duration
	Command  string // that gives them again
	Scale    float64
	Seed     int
	Machine  []Pair
	Versions []Pair
	Settings []Pair // of each peer and the brokers; the value may have several lines
	Works    []*Work
}

// Pair is a name with its value.
type Pair struct{ Name, Value string }

// A Kind says which figures a work has.
type Kind string

// The kinds of works.
const (
	Throughput Kind = "throughput"
	Latency    Kind = "latency"
	Restart    Kind = "restart"
	Audit      Kind = "audit"
	Queries    Kind = "queries"
	Idle       Kind = "idle"
)

// Work is one table.
type Work struct {
	ID    string // its letter, such as a, with a number or a word behind it where the work has several tables
	Kind  Kind
	Title string
	Note  string
	Rows  []*Row
	By    Stamp
}

// Stamp says what a work was measured by, and on what. Works of several commands may share a page.
type Stamp struct {
	On      time.Time
	Command string
	Tally   string // its version
	Machine string // in a line
	Scale   float64
	// Then are versions and settings of the time that are others on the page now.
	Then []Pair `json:",omitempty"`
}

// Row is one peer under one condition, run several times.
type Row struct {
	Peer     string
	Interval time.Duration // between commits; 0: the peer's own way
	Variant  string        // how a process ended, how many groups; "" for none
	Runs     []trial.Figures
	Failed   string // why there are no figures
	LeftOut  string // why it was not run
}

// Row finds or makes a row.
func (w *Work) Row(peer string, interval time.Duration, variant string) *Row {
	for _, r := range w.Rows {
		if r.Peer == peer && r.Interval == interval && r.Variant == variant {
			return r
		}
	}
	r := &Row{Peer: peer, Interval: interval, Variant: variant}
	w.Rows = append(w.Rows, r)
	return r
}

// Wrong is what is wrong with any of the runs, or why there is none, "" for nothing.
func (r *Row) Wrong() string {
	if r.LeftOut != "" {
		return "left out: " + r.LeftOut
	}
	if r.Failed != "" {
		return "failed: " + r.Failed
	}
	for _, f := range r.Runs {
		if f.Wrong != "" {
			return f.Wrong
		}
	}
	return ""
}

// Trim drops rows that were not run, and works without a row: of a run that was cut short.
func (r *Results) Trim() {
	r.Works = slices.DeleteFunc(r.Works, func(w *Work) bool {
		w.Rows = slices.DeleteFunc(w.Rows, func(row *Row) bool {
			return len(row.Runs) == 0 && row.Failed == "" && row.LeftOut == ""
		})
		return len(w.Rows) == 0
	})
}

// Unsound is an error that names the rows which are wrong or failed, nil where there is none.
func (r *Results) Unsound() error {
	var all []string
	for _, w := range r.Works {
		for _, row := range w.Rows {
			if row.LeftOut == "" && row.Wrong() != "" {
				all = append(all, fmt.Sprintf("(%s) %s %s: %s", w.ID, row.title(), row.commit(), oneLine(row.Wrong())))
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%d rows are wrong or failed:\n%s", len(all), strings.Join(all, "\n"))
}

// spread is the median of a figure over the runs, with the least and the most.
func (r *Row) spread(of func(trial.Figures) float64) (median, low, high float64) {
	if len(r.Runs) == 0 {
		return 0, 0, 0
	}
	var all []float64
	for _, f := range r.Runs {
		all = append(all, of(f))
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]
}

// Stamp marks the works of this run, which nobody marked before, as measured by it.
func (r *Results) Stamp() {
	tally := ""
	for _, v := range r.Versions {
		if v.Name == "tally" {
			tally = v.Value
		}
	}
	for _, w := range r.Works {
		if w.By.Command == "" {
			w.By = Stamp{On: r.Began, Command: r.Command, Tally: tally}
		}
		if w.By.Scale == 0 { // one from before stamps said so: all of a page were of one machine
			w.By.Machine, w.By.Scale = r.machine(), r.Scale
		}
	}
}

func (r *Results) machine() string { return MachineLine(r.Machine) }

// Over puts these results over older ones: a work that was run again replaces its table, what was
// not run is kept, with its own stamp and what was another version or setting then, and settings
// are those of all peers that either has. Works then stand in the order of their letters.
func (r *Results) Over(old *Results) {
	old.Stamp()
	works, rest := []*Work(nil), slices.Clone(r.Works)
	for _, w := range old.Works {
		if i := slices.IndexFunc(rest, func(n *Work) bool { return n.ID == w.ID }); i >= 0 {
			w = rest[i]
			rest = slices.Delete(rest, i, i+1)
		} else {
			w.By.since(old.Versions, r.Versions)
			w.By.since(slices.DeleteFunc(slices.Clone(old.Settings), func(p Pair) bool { return !w.concerns(p.Name) }), r.Settings)
		}
		works = append(works, w)
	}
	r.Works = append(works, rest...)
	slices.SortFunc(r.Works, func(a, b *Work) int { return strings.Compare(a.ID, b.ID) })
	for _, p := range old.Settings {
		if !slices.ContainsFunc(r.Settings, func(n Pair) bool { return n.Name == p.Name }) {
			r.Settings = append(r.Settings, p)
		}
	}
}

// concerns reports whether settings are of one of the work's programs, or of the brokers.
func (w *Work) concerns(name string) bool {
	return name == "brokers" || slices.ContainsFunc(w.Rows, func(r *Row) bool { return r.Peer == name })
}

// since notes what has become of what was so until now. The version of tally stands by itself.
func (s *Stamp) since(old, now []Pair) {
	named := func(all []Pair, name string) int {
		return slices.IndexFunc(all, func(p Pair) bool { return p.Name == name })
	}
	for _, p := range old {
		i := named(now, p.Name)
		if p.Name != "tally" && i >= 0 && now[i].Value != p.Value && named(s.Then, p.Name) < 0 {
			s.Then = append(s.Then, p)
		}
	}
}

// Save keeps the results.
func (r *Results) Save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Load reads what Save kept.
func Load(path string) (*Results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	return r, json.Unmarshal(text, r)
}
