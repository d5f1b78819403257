package check

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// TestRightRun: the checks find nothing where nothing is wrong, and each has looked at something.
func TestRightRun(t *testing.T) {
	rep, err := aRun().judge()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if !rep.Proved() || rep.Failed() {
		t.Errorf("not proved:\n%s", text.String())
	}
	if rep.Events != 100 || rep.Cells.Faults != 4 || rep.Cells.Hit != 1 {
		t.Errorf("%d events, cells %+v", rep.Events, rep.Cells)
	}
	for _, want := range []string{"dead", "opened stores", "kill", "not hit so often", " 1  ok"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, text.String())
		}
	}
	var b bytes.Buffer
	if err := rep.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back.Checks) != checksCount {
		t.Errorf("the JSON does not come back: %v", err)
	}
}

// bad is a wrong run: what breaks a right one, and the check that has to say so, in these words.
type bad struct {
	name  string
	check int
	says  string
	do    func(*fake)
}

var (
	oneOut    = Place{"one-out", 0}
	oneLog    = Place{"one.changelog", 0}
	twoLog    = Place{"two.changelog", 0}
	oneDead   = Place{"one.dead", 0}
	oneIn     = Place{"one-in", 0}
	twoOut    = Place{"two-out", 0}
	twoMiddle = Place{"two.repartition", 0}
	offsetLog = Place{OffsetsTopic, 0}
)

// committedOut is an output that is visible: of the first record the transaction is committed.
func committedOut(r *Record) bool { return isData(r) && !strings.Contains(string(r.Value), "99") }

var wrongRuns = []bad{
	{"an output twice", Rising, "goes from", func(f *fake) {
		a, b := f.find(oneOut, 0, committedOut), f.find(oneOut, 3, committedOut)
		b.Key, b.Value = a.Key, a.Value
	}},
	{"an output of the wrong total", Rising, "the answer says", func(f *fake) {
		r := f.find(oneOut, 2, committedOut)
		r.Value = bytes.Replace(r.Value, []byte(`"total":`), []byte(`"total":7`), 1)
	}},
	{"the last output is missing", Rising, "the answer is", func(f *fake) {
		log := f.mem[twoOut]
		for i := range log {
			if j := len(log) - 1 - i; isData(&log[j]) {
				vanish(&log[j])
				break
			}
		}
	}},
	{"a counter that nobody has sent", Rising, "no such counter", func(f *fake) { f.answers = slices.Delete(f.answers, 0, 1) }},
	{"an output in a foreign partition", Rising, "belongs to partition", func(f *fake) {
		for i := range f.answers {
			if f.answers[i].App == "one" {
				f.answers[i].Partition = 1 - f.answers[i].Partition
			}
		}
	}},
	{"a value that no events make", Mapped, "make it", func(f *fake) {
		r := f.find(oneLog, 1, isKind(kindValue))
		r.Value = append([]byte{1, kindValue}, encodeAll([]decimal{{coef: 50}, {coef: 1}})...)
	}},
	{"an output above the position", Mapped, "without a position", func(f *fake) {
		f.put(oneOut, Record{Txn: true, Producer: 5, Epoch: 1, Key: []byte("k"), Value: []byte(`{"count":999,"total":1}`)})
		f.put(oneOut, Record{Producer: 5, Epoch: 1, Control: Commit})
	}},
	{"an output is missing in the middle", Mapped, "has no output of", func(f *fake) { vanish(f.find(oneOut, 1, committedOut)) }},
	{"an event is not counted", Mapped, "not counted", func(f *fake) { f.put(oneIn, Record{Key: []byte("k0-0"), Value: []byte(`{"amount":1}`)}) }},
	{"an event was lost by the input", Mapped, "acknowledged", func(f *fake) {
		f.add(history.Event{Sent: &history.Sent{App: "one", Events: make([]history.Record, 1)}})
	}},
	{"a dead letter is missing", Mapped, "no dead letter of the event", func(f *fake) { vanish(f.find(oneDead, 0, isData)) }},
	{"a dead letter of another event", Mapped, "none of its unreadable events", func(f *fake) { f.find(oneDead, 0, isData).Headers[0].Value = "0" }},
	{"a partial is lost", Mapped, "is not what its events add up to", func(f *fake) { vanish(f.find(twoMiddle, 0, isKind(kindPartial))) }},
	{"sources of other events", Mapped, "not where its positions are", func(f *fake) {
		r := f.find(twoMiddle, 0, isKind(kindSources))
		r.Value[len(r.Value)-1]++
	}},
	{"a position record with wrong numbers", Mapped, "it counts", func(f *fake) {
		changeNote(f.find(oneLog, 2, isKind(kindPosition)), func(p *position) { p.Processed++ })
	}},
	{"a position that goes back", Mapped, "follows position", func(f *fake) {
		changeNote(f.find(oneLog, 3, isKind(kindPosition)), func(p *position) { p.Input = 1 })
	}},
	{"half a transaction is aborted", Whole, "aborted here, and committed elsewhere", func(f *fake) {
		f.find(oneLog, 3, func(r *Record) bool { return r.Control == Commit }).Control = Abort
	}},
	{"a transaction is left open", Whole, "still open", func(f *fake) {
		f.put(oneDead, Record{Txn: true, Producer: 77, Epoch: 1, Key: []byte("k")})
	}},
	{"the outputs of a transaction are missing", Whole, "no output of it is committed", func(f *fake) {
		id := f.find(oneOut, 0, committedOut).Epoch
		for i := range f.mem[oneOut] {
			if r := &f.mem[oneOut][i]; r.Epoch == id || r.Epoch == id+1 {
				vanish(r)
			}
		}
	}},
	{"a transaction without its offsets", Whole, "of its offsets it has committed", func(f *fake) { vanish(f.find(offsetLog, 9, isData)) }},
	{"offsets without a position", Whole, "no position record of it is committed", func(f *fake) {
		r := *f.find(offsetLog, 0, isData)
		r.Producer, r.Epoch = 5, 1
		binary.BigEndian.PutUint64(r.Value[2:], 1e6)
		f.put(offsetLog, r)
		f.put(offsetLog, Record{Producer: 5, Epoch: 1, Control: Commit})
	}},
	{"a second end under one epoch", Whole, "after epoch", func(f *fake) {
		r := f.find(oneOut, 0, isData)
		late := *r
		late.Value = []byte(`{"count":1000,"total":1}`)
		f.put(oneOut, late)
		f.put(oneOut, Record{Producer: late.Producer, Epoch: late.Epoch + 1, Control: Commit})
	}},
	{"an output outside of any transaction", Whole, "outside of any transaction", func(f *fake) {
		f.put(oneOut, Record{Key: []byte("k"), Value: []byte(`{"count":1000,"total":1}`)})
	}},
	{"an offset that falls", Offsets, "goes from", func(f *fake) {
		r := f.find(offsetLog, len(f.mem[offsetLog])/3, isData)
		r.Value = slices.Clone(r.Value)
		binary.BigEndian.PutUint64(r.Value[2:], 1<<40)
	}},
	{"a digest that is wrong", Stores, "the changelog up to it has", func(f *fake) {
		changeNote(f.find(oneLog, 2, isKind(kindPosition)), func(p *position) { p.Digest++ })
	}},
	{"an opened store that lacks a group", Stores, "the changelog below it has", func(f *fake) { f.lastStore().Groups-- }},
	{"an opened store with another value", Stores, "the store of", func(f *fake) { f.lastStore().Digest-- }},
	{"an opened store of half a transaction that lacks a value", Stores, "the changelog below it has", func(f *fake) {
		s := f.lastStore()
		for i := range f.mem[twoLog] {
			if r := &f.mem[twoLog][i]; r.Offset < s.Changelog && isKind(kindValue)(r) {
				s.Changelog = r.Offset + 1
			}
		}
		s.Digest--
	}},
	{"a scan without a group", Stores, "not those of the changelog", func(f *fake) {
		r := f.lastRead("scan", roleStandby)
		r.Counts = r.Counts[1:]
	}},
	{"an epoch that falls", Epochs, "comes behind epoch", func(f *fake) {
		changeNote(f.find(oneLog, 0, isKind(kindPosition)), func(p *position) { p.Epoch = 9 })
	}},
	{"two writers of one epoch", Epochs, "as a (a1) has done", func(f *fake) {
		changeNote(f.find(oneLog, 1, isKind(kindPosition)), func(p *position) { p.Incarnation, p.NodeName = "other", "z" })
	}},
	{"an answer of what was not committed", Reads, "where it is", func(f *fake) {
		r := f.lastRead("get", roleOwner)
		r.Parts[0].Values = json.RawMessage(strings.Replace(`{"count":77}`, "}", `,"total":1}`, 1))
	}},
	{"a position where nothing ended", Reads, "where no transaction ended", func(f *fake) {
		f.firstRead("get", "one").Parts[0].Position["one-in/0"]--
	}},
	{"a stale answer that says to be newer", Reads, "where", func(f *fake) {
		late, early := f.lastRead("get", roleStandby), f.firstRead("get", "two")
		late.Asked = early.Asked
		late.Parts[0].Values = early.Parts[0].Values
	}},
	{"an answer older than its token", Reads, "its token was of position", func(f *fake) {
		late, early := f.lastRead("scan", roleOwner), f.firstRead("scan", "two")
		late.Parts, late.Counts = early.Parts, early.Counts
	}},
	{"an owner whose answers go back", Reads, "answers at position", func(f *fake) {
		late, early := f.readAt("one", "get", roleOwner, 1, 1), f.readAt("one", "get", roleOwner, 1, 0)
		late.Parts, late.Asked, late.TokenIn = early.Parts, early.Asked, ""
	}},
	{"an old answer that says to be new", Reads, "was known to go up to", func(f *fake) {
		r := *f.firstRead("get", "one")
		r.Began, r.TokenIn = f.now().Add(2*ageSlack), ""
		r.Ended = r.Began
		r.Parts = slices.Clone(r.Parts)
		r.Parts[0].AsOfMs = r.Ended.UnixMilli()
		f.events = append(f.events, history.Event{Read: &r})
	}},
	{"a standby that nobody has asked for", Reads, "nobody asked for that", func(f *fake) { f.lastRead("get", roleStandby).Stale = false }},
	{"a top that lacks the largest", Reads, "is not listed", func(f *fake) {
		r := f.lastRead("top", roleOwner)
		r.Counts = []history.Count{smallest(r.Counts)}
	}},
	{"an answer that is not after the event", Reads, "asked for after", func(f *fake) { f.firstRead("get", "one").After = "one-in/0:500" }},
	{"an old owner that goes on answering", Ownership, "after b was seen to own it", func(f *fake) {
		r := *f.readAt("one", "get", roleOwner, 1, 0)
		last := f.lastRead("get", roleOwner)
		r.Began, r.Ended, r.TokenIn = last.Ended.Add(1), last.Ended.Add(2), ""
		f.events = append(f.events, history.Event{Read: &r})
	}},
	{"two owners under one epoch", Ownership, "owns it under epoch", func(f *fake) {
		f.add(history.Event{Status: &history.Status{Node: "z", Lanes: []history.Lane{{App: "one", Lane: 0, Owner: "z", Epoch: 2}}}})
	}},
	{"an owner that answers after a newer one has committed", Ownership, "seen to own it", func(f *fake) {
		r := *f.readAt("one", "get", roleOwner, 1, 0)
		r.Began, r.Ended, r.TokenIn = f.now(), f.now(), ""
		kept := f.events[:0]
		for _, e := range f.events {
			if e.Read == nil || e.Read.Parts[0].Epoch == 1 {
				kept = append(kept, e)
			}
		}
		f.events = append(kept, history.Event{Read: &r})
	}},
	{"it is never quiet", Quiet, "never quiet", func(f *fake) { f.end().QuietAfterMs = -1 }},
	{"it is quiet too late", Quiet, "quiet only", func(f *fake) { f.end().QuietAfterMs = 31_000 }},
	{"lag is left", Quiet, "lag 3", func(f *fake) { f.end().Lag = 3 }},
	{"a last stable offset below the end", Quiet, "last stable", func(f *fake) { f.end().Topics[0].LastStable-- }},
	{"the run was cut off", Quiet, "cut off", func(f *fake) { f.events = f.events[:len(f.events)-1] }},
	{"an audit that finds a difference", Audit, "exits 4", func(f *fake) {
		f.add(history.Event{Audit: &history.Audit{App: "two", Code: 4}})
	}},
	{"no audit", Audit, "was not audited", func(f *fake) {
		f.events = slices.DeleteFunc(f.events, func(e history.Event) bool { return e.Audit != nil && e.Audit.App == "two" })
	}},
}

// TestWrongRuns: every check can fail.
func TestWrongRuns(t *testing.T) {
	caught := map[int]bool{}
	for _, b := range wrongRuns {
		t.Run(strings.ReplaceAll(b.name, " ", "-"), func(t *testing.T) {
			f := aRun()
			b.do(f)
			rep, err := f.judge()
			if err != nil {
				t.Fatal(err)
			}
			c := rep.Of(b.check)
			if !slices.ContainsFunc(c.Examples, func(e string) bool { return strings.Contains(e, b.says) }) {
				var text strings.Builder
				_ = rep.WriteText(&text)
				t.Fatalf("check %d does not say %q:\n%s", b.check, b.says, text.String())
			}
			caught[b.check] = true
		})
	}
	for n := 1; n <= checksCount; n++ {
		if !caught[n] {
			t.Errorf("no wrong run is caught by check %d", n)
		}
	}
}

// TestUndecided: what is lost is neither right nor wrong.
func TestUndecided(t *testing.T) {
	for _, c := range []struct {
		check int
		do    func(*fake)
	}{
		{Mapped, func(f *fake) { f.mem[twoMiddle] = f.mem[twoMiddle][4:] }},
		{Stores, func(f *fake) { f.mem[oneLog] = f.mem[oneLog][6:] }},
	} {
		f := aRun()
		c.do(f)
		rep, err := f.judge()
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Of(c.check).Undecided) == 0 || rep.Proved() {
			t.Errorf("check %d: %+v", c.check, rep.Of(c.check))
		}
	}
}

// TestCells: a fault counts once, and only if it came.
func TestCells(t *testing.T) {
	var all []history.Fault
	for id := range 3 {
		all = append(all, history.Fault{ID: id, Kind: "kill", Step: "flush", Exact: true, Signal: 1, Transitions: []string{"moving", "moving"}})
		all = append(all, all[len(all)-1])
	}
	all = append(all, history.Fault{ID: 3, Kind: "pause", Step: "poll", Failed: "nobody was there"}, history.Fault{ID: 4, Kind: "pause", Step: "poll"})
	c := CountCells(all, []string{"kill", "pause", "cut"})
	rows := len(Steps) + len(Transitions)
	if c.All != 3*rows || c.Hit != 2 || c.Exact != 1 || c.Faults != 4 || c.Signals != 3 || len(c.Unhit) != c.All-2 {
		t.Errorf("%+v", c)
	}
	if !slices.Contains(c.Unhit, Cell{"poll", "pause", 1}) || !slices.Contains(c.ByKind, Amount{"cut", 0}) {
		t.Errorf("%+v", c)
	}
}

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

// TestDecimals: numbers come back, and add up exactly.
func TestDecimals(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "-0.05": "-0.05", "12.50": "12.5", "3": "3"} {
		d, err := parseDecimal(text)
		if err != nil || d.String() != want {
			t.Errorf("%s: %s %v", text, d, err)
		}
		back, err := decodeDecimals(d.encode(nil))
		if err != nil || back[0] != d {
			t.Errorf("%s comes back as %v: %v", text, back, err)
		}
	}
	a, _ := parseDecimal("0.1")
	b, _ := parseDecimal("99.95")
	if sum, err := a.add(b); err != nil || sum.String() != "100.05" {
		t.Errorf("%v %v", sum, err)
	}
	if _, err := (decimal{coef: 1 << 62}).add(decimal{coef: 1 << 62}); err == nil {
		t.Error("an overflow is not noticed")
	}
}

// TestSpool: records come back, and what was cut off in the middle does not.
func TestSpool(t *testing.T) {
	dir, p := t.TempDir(), Place{"a/b", 3}
	w, err := createSpool(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	want := []Record{
		{Offset: 0, Producer: -1, Key: []byte("k"), TimeMs: 5},
		{Offset: 1, Producer: 9, Epoch: 3, Txn: true, Value: []byte{}, Headers: []Header{{"offset", "7"}}, SeenMs: 8},
		{Offset: 7, Producer: 9, Epoch: 4, Control: Abort, Key: []byte{}, Value: []byte("v")},
	}
	for i := range want {
		for range 2 { // as after a reconnect
			if err := w.write(&want[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.out.Write([]byte{200, 1, 2}); err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	r, err := openSpool(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, w := range want {
		got, err := r.Next()
		if err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", w) {
			t.Errorf("%#v comes back as %#v: %v", w, got, err)
		}
	}
	if got, err := r.Next(); err == nil {
		t.Errorf("%+v comes out of nothing", got)
	}
}

// TestManyEpochs: an order is found at once, however many owners there were one after another, and
// an answer in the wrong place is found among them.
func TestManyEpochs(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		o, b, lane := newOwners(), newBooks(), laneOf{"one", 0}
		b.writers[lane] = map[uint64]*writer{}
		for e := range uint64(1000) {
			node, ms := []string{"a", "b", "c"}[e%3], int64(1000*(e+1))
			b.writers[lane][e+1] = &writer{node: node, incarnation: fmt.Sprint(e), firstSeenMs: ms + 300}
			o.add(lane, hold{e + 1, node}, (ms+50)*1e6, (ms+60)*1e6)
			o.add(lane, hold{e + 1, node}, (ms+100)*1e6, (ms+1040)*1e6)
		}
		if wrong {
			o.add(lane, hold{500, "b"}, 501_400*1e6, 501_500*1e6)
		}
		var c Check
		o.judge(b, &c)
		if len(c.Undecided) > 0 || (c.Failures > 0) != wrong {
			t.Errorf("wrong %v: %+v", wrong, c)
		}
	}
}
