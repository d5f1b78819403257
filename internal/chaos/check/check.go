package check

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// Run is all that is known of a run.
type Run struct {
	history.Run
	Answers func(fn func(history.Answer) error) error
	Events  func(fn func(history.Event) error) error
	Stores  func(fn func(history.Store) error) error // nil: none was opened
	Dump    Dump
	Kinds   Kinds // of faults, that could have been drawn
}

// ReadFolder takes a run from its folder, and its topics from a dump.
func ReadFolder(dir string, d Dump, kinds Kinds) (*Run, error) {
	of, err := history.ReadRun(filepath.Join(dir, history.RunFile))
	if err != nil {
		return nil, err
	}
	run := &Run{
		Run: of,
		Answers: func(fn func(history.Answer) error) error {
			return history.Load(filepath.Join(dir, history.AnswerFile), fn)
		},
		Events: func(fn func(history.Event) error) error {
			return history.Load(filepath.Join(dir, history.HistoryFile), fn)
		},
		Dump: d, Kinds: kinds,
	}
	if stores := filepath.Join(dir, history.StoreFile); exists(stores) {
		run.Stores = func(fn func(history.Store) error) error { return history.Load(stores, fn) }
	}
	return run, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// judge is one judgement on its way.
type judge struct {
	run    *Run
	rep    *Report
	apps   map[string]*app // those with an answer
	owners *owners
	books  *books
	faults []history.Fault
	audits map[string]history.Audit // the last of each app
	end    *history.End
	sent   map[string]int64 // events, by app
	counts map[string]int64 // those that the recount has found in the input, by app

	lastMs    int64 // of the history
	processes []history.Process
	settlings *settlings
	unopened  []history.Store
	troubles  *troubles
}

// Judge runs the ten checks. An error means that the run could not be judged at all.
func Judge(run *Run) (*Report, error) {
	j := &judge{run: run, rep: newReport(run.Seed), apps: map[string]*app{}, owners: newOwners(), books: newBooks(),
		audits: map[string]history.Audit{}, sent: map[string]int64{}, counts: map[string]int64{}, settlings: newSettlings()}
	for _, h := range run.Apps {
		if h.Passing {
			continue
		}
		a, err := newApp(h, run.Dump, j.rep, j.books)
		if err != nil {
			return nil, err
		}
		a.reads = newReads(a)
		j.apps[h.Name] = a
	}
	if err := j.readHistory(); err != nil {
		return nil, err
	}
	j.troubles = newTroubles(run, j.faults, j.processes, j.settlings)
	if j.lastMs > 0 {
		j.troubles.ended = j.lastMs
	}
	for _, name := range slices.Sorted(maps.Keys(j.apps)) {
		j.apps[name].troubles = j.troubles
		if err := j.judgeApp(j.apps[name]); err != nil {
			return nil, err
		}
	}
	j.owners.judge(j.books, j.rep.Of(Ownership))
	j.judgeUnopened()
	j.judgeQuiet()
	j.judgeAudits()
	j.rep.Cells = CountCells(j.faults, run.Kinds)
	j.rep.noteUnseen(run)
	return j.rep, nil
}

func (j *judge) judgeApp(a *app) error {
	if err := a.keepBooks(); err != nil {
		return fmt.Errorf("app %s: %w", a.Name, err)
	}
	events := j.rep.Events
	if err := a.judge(); err != nil {
		return err
	}
	got := j.rep.Events - events
	if j.counts[a.Name] = got; j.sent[a.Name] > got {
		j.rep.Of(Mapped).differ(versus{"", fmt.Sprintf("%d events", j.sent[a.Name]), fmt.Sprint(got)},
			"app %s: Kafka has acknowledged %d events, and %s has %d", a.Name, j.sent[a.Name], a.Input, got)
	}
	a.reads.judgeOwned()
	a.reads.judgeGets()
	a.reads.judgeSilent(j.ran)
	a.reads.judgeLast(j.end)
	return nil
}

// ran reports whether one process of a node lived all the while.
func (j *judge) ran(node string, from, to time.Time) bool {
	ended := map[int]bool{} // by its start; a process that has ended is written twice
	for _, p := range slices.Backward(j.processes) {
		if p.Name != node || ended[p.Start] {
			continue
		}
		ended[p.Start] = true
		if !p.Started.After(from) && (p.Ended.IsZero() || !p.Ended.Before(to)) {
			return true
		}
	}
	return false
}

func (j *judge) readHistory() error {
	err := j.run.Answers(func(h history.Answer) error {
		if a := j.apps[h.App]; a != nil {
			return a.addAnswer(h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if j.run.Stores != nil {
		if err := j.run.Stores(j.readStore); err != nil {
			return err
		}
	}
	defer j.rep.by(0)
	return j.run.Events(j.readEvent)
}

func (j *judge) readEvent(e history.Event) error {
	j.rep.by(e.At.UnixMilli())
	j.lastMs = max(j.lastMs, e.At.UnixMilli())
	switch {
	case e.Read != nil:
		if a := j.apps[e.Read.App]; a != nil {
			j.owners.read(e.Read, j.rep.Of(Ownership))
			return a.reads.add(e.Read)
		}
	case e.Status != nil:
		j.readStatus(e.Status)
	case e.Sent != nil:
		j.sent[e.Sent.App] += int64(len(e.Sent.Events))
		if a := j.apps[e.Sent.App]; a != nil {
			a.reads.sent(e.At, e.Sent)
		}
	case e.Fault != nil:
		j.faults = append(j.faults, *e.Fault)
	case e.Process != nil:
		j.processes = append(j.processes, *e.Process)
		j.settlings.process(e.Process)
	case e.Audit != nil:
		j.audits[e.Audit.App] = *e.Audit
	case e.Commit != nil:
		id, ms := txnID{e.Commit.Producer, e.Commit.Epoch}, e.At.UnixMilli()
		if first, known := j.books.commits[id]; !known || ms < first {
			j.books.commits[id] = ms
		}
	case e.End != nil:
		j.end = e.End
	}
	return nil
}

// readStatus leaves out apps that come and go: one that is deleted with its topics begins again
// with its epochs.
func (j *judge) readStatus(s *history.Status) {
	known := *s
	known.Lanes = slices.DeleteFunc(slices.Clone(s.Lanes), func(l history.Lane) bool { return j.apps[l.App] == nil })
	j.owners.status(&known, j.rep.Of(Ownership))
	lanes := map[string]int{}
	for name, a := range j.apps {
		lanes[name] = a.Lanes
	}
	j.settlings.status(&known, lanes, j.run.Rate)
}

func (j *judge) readStore(s history.Store) error {
	a := j.apps[s.App]
	if a == nil {
		return nil
	}
	if s.Damaged != "" || s.Refused != "" {
		j.unopened = append(j.unopened, s)
		return nil
	}
	of := storeOf{s.Stage, s.Partition}
	if s.Stage != a.lastStage() {
		return nil // it has no values
	}
	a.stores[of] = append(a.stores[of], s)
	return nil
}

// quietWithin is how long after the last fault something may still wait: from when that is counted
// the end says.
const quietWithin = 30 * time.Second

func (j *judge) judgeQuiet() {
	c := j.rep.Of(Quiet)
	if j.end == nil {
		c.fail("the history has no end: the run was cut off")
		return
	}
	from := cmp.Or(j.end.FromWhat, "the last fault")
	switch after := time.Duration(j.end.QuietAfterMs) * time.Millisecond; {
	case after < 0:
		c.fail("it was never quiet after %s: %s", from, j.end.Why)
	case after > quietWithin:
		c.differ(versus{"", "at most " + quietWithin.String(), after.String()}, "it was quiet only %s after %s", after, from)
	case !j.end.From.IsZero():
		c.Notes = append(c.Notes, fmt.Sprintf("quiet %s after %s, which was at %s", after, from, j.end.From.UTC().Format(timeFormat)))
	}
	if j.end.Lag != 0 {
		c.differ(versus{"", "0", fmt.Sprint(j.end.Lag)}, "lag %d at the end", j.end.Lag)
	}
	if j.end.Waiting != 0 {
		c.differ(versus{"", "0", fmt.Sprint(j.end.Waiting)}, "%d records behind what the groups have committed", j.end.Waiting)
	}
	for _, t := range j.end.Topics {
		c.saw(1, "partitions")
		if t.LastStable != t.End {
			c.differ(versus{"", fmt.Sprint("a last stable offset of ", t.End), fmt.Sprint(t.LastStable)},
				"%s/%d ends at %d, and its last stable offset is %d", t.Topic, t.Partition, t.End, t.LastStable)
		}
	}
}

// auditEvents is of the last line of an audit that is exact: how many events it has counted.
var auditEvents = regexp.MustCompile(`(?m)^exact(?: per partition)?: ([0-9]+) events, `)

// judgeAudits: an audit says that all is exact, and of as many events as there are: one that has
// found none has nothing to compare either.
func (j *judge) judgeAudits() {
	c := j.rep.Of(Audit)
	for _, name := range slices.Sorted(maps.Keys(j.apps)) {
		a, ok := j.audits[name]
		if !ok {
			c.fail("app %s was not audited", name)
			continue
		}
		c.saw(1, "apps")
		found := auditEvents.FindStringSubmatch(a.Text)
		switch {
		case !a.Exact:
			c.fail("app %s: tally audit exits %d: %s", name, a.Code, a.Text)
		case found == nil:
			c.fail("app %s: tally audit exits 0 and does not say of how many events: %s", name, a.Text)
		case found[1] != strconv.FormatInt(j.counts[name], 10) && j.apps[name].inputHoled:
			c.undecidedOf(1, "apps", "app %s: tally audit has counted %s events; of the input a part was gone before it was read", name, found[1])
		case found[1] != strconv.FormatInt(j.counts[name], 10):
			c.differ(versus{"", fmt.Sprintf("%d events", j.counts[name]), found[1]},
				"app %s: tally audit has counted %s events, and there are %d", name, found[1], j.counts[name])
		default:
			c.saw(j.counts[name], "events")
		}
	}
}

// Write leaves the report in a run's folder: for people, and for programs.
func (r *Report) Write(dir string) error {
	for _, to := range []struct {
		name  string
		write func(*os.File) error
	}{
		{"report.txt", func(f *os.File) error { return r.WriteText(f) }},
		{"report.json", func(f *os.File) error { return r.WriteJSON(f) }},
	} {
		f, err := os.OpenFile(filepath.Join(dir, to.name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fs.FileMode(0o644))
		if err != nil {
			return err
		}
		if err := to.write(f); err != nil {
			_ = f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
