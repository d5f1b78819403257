package check

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// changeNote changes a position record.
func changeNote(r *Record, change func(*position)) {
	p, err := parsePosition(r.Value, kindPosition)
	if err != nil {
		panic(err)
	}
	change(&p)
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	r.Value = append([]byte{1, kindPosition}, text...)
}

func (f *fake) reads(app, ask, role string, epoch uint64) (all []*history.Read) {
	for _, e := range f.events {
		if r := e.Read; r != nil && (app == "" || r.App == app) && r.Ask == ask && (role == "" || r.Parts[0].Role == role) &&
			(epoch == 0 || r.Parts[0].Epoch == epoch) {
			all = append(all, r)
		}
	}
	return all
}

func (f *fake) firstRead(ask, app string) *history.Read { return f.reads(app, ask, roleOwner, 0)[0] }

func (f *fake) lastRead(ask, role string) *history.Read {
	all := f.reads("two", ask, role, 0)
	return all[len(all)-1]
}

// readAt is an answer of an epoch about partition 0: the first of them, or the last.
func (f *fake) readAt(app, ask, role string, epoch uint64, last int) *history.Read {
	all := f.reads(app, ask, role, epoch)
	all = slices.DeleteFunc(all, func(r *history.Read) bool { return r.Parts[0].Partition != 0 })
	return all[last*(len(all)-1)]
}

func (f *fake) lastStore() *history.Store {
	for i := range f.stores {
		if s := &f.stores[len(f.stores)-1-i]; s.App == "two" && s.Partition == 0 {
			return s
		}
	}
	panic("no store")
}

func (f *fake) end() *history.End { return f.events[len(f.events)-1].End }

func smallest(counts []history.Count) history.Count {
	return slices.MinFunc(counts, func(a, b history.Count) int {
		var x, y struct{ Count int }
		_ = json.Unmarshal(a.Values, &x)
		_ = json.Unmarshal(b.Values, &y)
		return x.Count - y.Count
	})
}

// answerEarly lets an answer come so long before what it has is committed.
func (f *fake) answerEarly(early time.Duration) *history.Read {
	r := f.lastRead("get", roleOwner)
	log := f.mem[Place{"two.changelog", r.Parts[0].Partition}]
	r.Ended = time.UnixMilli(log[len(log)-1].TimeMs).Add(-early)
	r.Began, r.Parts = r.Ended, slices.Clone(r.Parts)
	r.Parts[0].AsOfMs = r.Ended.UnixMilli()
	return r
}

// unasked takes away that anybody has seen a request to commit.
func (f *fake) unasked() {
	f.events = slices.DeleteFunc(f.events, func(e history.Event) bool { return e.Commit != nil })
}

// answerLate is the first answer to a get, once more at the end, as if it were of then.
func (f *fake) answerLate(app string) *history.Read {
	r := *f.firstRead("get", app)
	r.Began, r.TokenIn, r.Parts, r.After = f.now().Add(2*ageSlack), "", slices.Clone(r.Parts), ""
	r.Ended, r.Parts[0].AsOfMs = r.Began, r.Began.UnixMilli()
	f.events = append(f.events, history.Event{Read: &r})
	return &r
}

// answerAfter is the last answer to a get of app one, once more so long after a further event was
// acknowledged, which nobody counts.
func (f *fake) answerAfter(late time.Duration) {
	r := *f.readAt("one", "get", roleOwner, 0, 1)
	f.apps["one"].send(0, "k0-0", `{"amount": 1}`)
	r.Began, r.TokenIn, r.Parts, r.After = f.now().Add(late), "", slices.Clone(r.Parts), ""
	r.Ended, r.Parts[0].AsOfMs = r.Began, r.Began.UnixMilli()
	f.events = append(f.events, history.Event{Read: &r})
}

// interleave has two producers write barriers into the same changelog at the same time.
func (f *fake) interleave() {
	barrier := *f.find(oneLog, 0, isKind(kindBarrier))
	for _, of := range []int64{1, 2, 1} {
		f.put(oneLog, Record{Txn: true, Producer: 900 + of, Epoch: 1, Key: barrier.Key, Value: barrier.Value})
	}
	for _, of := range []int64{2, 1} {
		f.put(oneLog, Record{Producer: 900 + of, Epoch: 2, Control: Commit})
	}
}

// fault adds one that is over.
func (f *fake) fault(kind, target, line string, began, ended time.Time) {
	f.add(history.Event{Fault: &history.Fault{ID: len(f.events), Kind: kind, Target: target, Line: line, Began: began, Ended: ended}})
}

// died says when the process had ended whose store was copied.
func (f *fake) died(s history.Store, ended time.Time) {
	f.add(history.Event{Process: &history.Process{Name: s.Node, Start: s.Start, Ended: ended}})
}
