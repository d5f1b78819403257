package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// TestExcused: what a fault explains is not held against the product, and it is said how often that
// was so.
func TestExcused(t *testing.T) {
	for name, c := range map[string]struct {
		check int
		says  string
		do    func(*fake)
	}{
		"a broker that was away when an answer came before its commit": {Reads, "answers behind their commit, before it, beside a fault of a broker", func(f *fake) {
			r := f.answerEarly(10 * time.Second)
			f.unasked()
			f.fault("controller-kill", "broker 2", "", r.Ended.Add(time.Second), r.Ended.Add(2*time.Second))
		}},
		"an answer a moment before its marker": {Reads, "answers behind their commit", func(f *fake) {
			f.answerEarly(time.Second)
			f.unasked()
		}},
		"an answer long before its marker, but behind the request": {Reads, "of them by the request to commit", func(f *fake) {
			for _, e := range f.events {
				if e.Commit != nil { // they are on their way, and lost, and asked for again
					f.events = append(f.events, history.Event{At: e.At.Add(-20 * time.Second), Commit: e.Commit})
				}
			}
			f.answerEarly(10 * time.Second)
		}},
		"a broker that was stopped and goes on": {Reads, "ages, beside a broker that may name an old end", func(f *fake) {
			r := f.answerLate("one")
			f.fault("broker-stop", "broker 2", "", r.Ended.Add(-25*time.Second), r.Ended.Add(-5*time.Second))
		}},
		"a broker that is cut off": {Reads, "ages through two stages, beside a broker that may name an old end", func(f *fake) {
			r := f.answerLate("two")
			f.fault("broker-cut", "broker 2", "", r.Ended, r.Ended.Add(time.Second))
		}},
		"an event that was acknowledged a moment ago": {Reads, "ages", func(f *fake) { f.answerAfter(900 * time.Millisecond) }},
		"a clock of another that was ahead": {Reads, "ages through two stages, by a clock that was off", func(f *fake) {
			r := f.answerLate("two")
			f.fault("clock", "c", `kind=clock param="30"`, r.Ended.Add(-3*time.Second), r.Ended.Add(-2*time.Second))
		}},
		"a clock that was ahead": {Reads, "ages through two stages, by a clock that was off", func(f *fake) {
			r := f.lastRead("get", roleOwner)
			f.fault("clock", r.Parts[0].Node, `at=1s kind=clock target="owner" for=2s param="3600"`, r.Began, r.Ended)
			r.Parts[0].AsOfMs = r.Ended.Add(time.Hour).UnixMilli()
		}},
		"two clocks that were ahead, and the age is of the other one": {Reads, "ages through two stages, by a clock that was off", func(f *fake) {
			r := f.lastRead("get", roleOwner)
			f.fault("clock", r.Parts[0].Node, `kind=clock param="30"`, r.Began, r.Ended)
			f.fault("clock", "other", `kind=clock param="2"`, r.Began, r.Ended)
			r.Parts[0].AsOfMs = r.Ended.UnixMilli() + 2000
		}},
		"a clock that was ahead while the answer was proved": {Reads, "ages through two stages, by a clock that was off", func(f *fake) {
			r := f.answerLate("two")
			f.fault("clock", r.Parts[0].Node, `kind=clock param="30"`, r.Ended.Add(-31*time.Second), r.Ended.Add(-28*time.Second))
		}},
		"a clock that two faults have set ahead at once": {Reads, "ages through two stages, by a clock that was off", func(f *fake) {
			r := f.lastRead("get", roleOwner)
			for _, line := range []string{`kind=clock param="3600"`, `kind=clock param="30"`} {
				f.fault("clock", r.Parts[0].Node, line, r.Began, r.Ended)
			}
			r.Parts[0].AsOfMs = r.Ended.Add(time.Hour + 30*time.Second).UnixMilli()
		}},
		"a wipe that failed, of a store of which bits were turned over": {Stores, "opened stores that say that they are damaged", func(f *fake) {
			f.fault("flip", "a", "", f.now(), f.now())
			f.clock += 10e9
			f.fault("wipe", "a", "", f.now(), f.now())
			f.events[len(f.events)-1].Fault.Failed = "there was nothing to kill"
			f.stores = append(f.stores, history.Store{App: "one", Node: "a", Damaged: "state is damaged"})
		}},
		"a store of which bits were turned over": {Stores, "opened stores that say that they are damaged", func(f *fake) {
			f.fault("flip", "a", "", f.now(), f.now())
			f.events[len(f.events)-1].Fault.Flipped = []string{"two/0/000004.sst", "one/1/000007.sst"}
			f.stores = append(f.stores, history.Store{App: "one", Node: "a", Partition: 1, Damaged: "state is damaged", Files: []string{"LOCK", "000007.sst"}})
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			f := aRun()
			f.ownedOnce()
			c.do(f)
			rep, err := f.judge()
			if err != nil {
				t.Fatal(err)
			}
			of := rep.Of(c.check)
			said := slices.ContainsFunc(of.Examined, func(a Amount) bool { return strings.HasPrefix(a.What, c.says) }) ||
				slices.ContainsFunc(of.Excused, func(e Excuse) bool { return e.What+", "+e.Why == c.says })
			if of.Failures > 0 || !said {
				t.Errorf("%+v", rep.Of(c.check))
			}
		})
	}
}

// ownedOnce leaves only the answers of gets, each without those before it: then they may come in
// any order.
func (f *fake) ownedOnce() {
	f.events = slices.DeleteFunc(f.events, func(e history.Event) bool { return e.Read != nil && e.Read.Ask != "get" })
	for i, e := range f.events {
		if e.Read != nil {
			e.Read.Reader, e.Read.TokenIn = fmt.Sprint("r", i), ""
			e.Read.Parts[0].Epoch = uint64(i) + 100
		}
	}
}

// TestCompactedStore: a store that was copied in mid-run may have been on its way through a
// compacted changelog, which is no prefix of history; but not where its node had all of it before
// the compaction and ever since.
func TestCompactedStore(t *testing.T) {
	running := history.Lane{Owner: "c", State: "running"}
	ready := history.Lane{Owner: "c", State: "standby", Role: roleStandby, Ready: true}
	behind := ready
	behind.Lag = 1000
	for name, c := range map[string]struct {
		before, after []history.Lane // what the node says before the compaction, and after it
		late          time.Duration  // from the compaction's end to the node's
		silent        time.Duration  // before the node's end
		says          bool           // that the store is wrong
	}{
		"nobody has said anything":       {late: time.Minute},
		"an owner throughout":            {before: []history.Lane{running}, after: []history.Lane{running}, late: time.Minute, says: true},
		"an owner that had restored":     {before: []history.Lane{{State: "restoring"}, running}, after: []history.Lane{running}, late: time.Minute, says: true},
		"an owner that restored late":    {after: []history.Lane{{State: "restoring"}, running}, late: time.Minute},
		"a standby throughout":           {before: []history.Lane{ready}, after: []history.Lane{ready}, late: time.Minute, says: true},
		"a standby amid the compaction":  {before: []history.Lane{ready}, after: []history.Lane{ready}},
		"a standby that was not ready":   {before: []history.Lane{ready}, after: []history.Lane{{State: "standby", Role: roleStandby}, ready}, late: time.Minute},
		"a standby that was behind":      {before: []history.Lane{ready}, after: []history.Lane{behind, ready}, late: time.Minute},
		"a node that was silent at last": {before: []history.Lane{running}, after: []history.Lane{running}, late: time.Minute, silent: 3 * time.Second},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			f := aRun()
			f.run.Rate = 100
			s := f.lastStore()
			say := func(lanes []history.Lane) {
				for _, l := range lanes {
					l.App = "two"
					f.add(history.Event{Status: &history.Status{Node: s.Node, Began: f.now().UnixNano(), Lanes: []history.Lane{l}}})
				}
			}
			f.clock += 10e9
			say(c.before)
			f.clock += 10e9
			f.fault("compact", "one.changelog", "", f.now(), f.now())
			f.clock += int64(c.late)
			say(c.after)
			s.Start, s.Groups = 3, s.Groups-1
			f.died(*s, f.now().Add(c.silent))
			if c.says {
				mustFail(t, f, Stores, "when its start 3 ended")
				return
			}
			undecided(t, f, "a store that lacks a group")
		})
	}
}

// TestStoreBehindACompaction: of a store that goes on behind all that was there when a compaction
// ended nothing can be missing that was set before, wherever its node has it from; of one that does
// not, something may be. Who hears late that it is over compacts until then, and what is written by
// a clock that is a day behind looks old enough at once.
func TestStoreBehindACompaction(t *testing.T) {
	for name, c := range map[string]struct {
		behind time.Duration // from when nothing is compacted any more to the last marker in the store
		end    bool          // the store is that of the run's end
		do     func(f *fake, ended time.Time)
		wrong  bool
	}{
		"far behind":       {behind: 10 * time.Second, wrong: true},
		"just behind":      {behind: time.Millisecond, wrong: true},
		"at the end":       {},
		"before":           {behind: -20 * time.Second},
		"left long ago":    {end: true},
		"of the run's end": {behind: time.Millisecond, end: true, wrong: true},
		"beside a broker away": {behind: 10 * time.Second, do: func(f *fake, ended time.Time) {
			f.fault("broker-stop", "broker 2", "", ended.Add(-5*time.Second), ended.Add(15*time.Second))
		}},
		"after a broker was away": {behind: 10 * time.Second, wrong: true, do: func(f *fake, ended time.Time) {
			f.fault("broker-kill", "broker 2", "", ended.Add(-20*time.Second), ended.Add(-8*time.Second))
		}},
		"a clock a day behind": {behind: 10 * time.Second, do: func(f *fake, ended time.Time) {
			f.fault("clock", "b", `kind=clock param="-86400"`, ended.Add(5*time.Second), ended.Add(13*time.Second))
		}},
		"a clock a minute behind": {behind: 10 * time.Second, wrong: true, do: func(f *fake, ended time.Time) {
			f.fault("clock", "b", `kind=clock param="-60"`, ended.Add(5*time.Second), ended.Add(13*time.Second))
		}},
		"a compaction without end": {behind: 10 * time.Second, do: func(f *fake, ended time.Time) {
			f.fault("compact", "two.changelog", "", ended, time.Time{})
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			f := aRun()
			markers := slices.DeleteFunc(slices.Clone(f.mem[twoLog]), func(r Record) bool { return r.Control == Data })
			last := markers[len(markers)/2]
			ended := time.UnixMilli(last.TimeMs).Add(-c.behind - compactLate)
			f.fault("compact", "two.changelog", "", ended.Add(-10*time.Second), ended)
			if c.do != nil {
				c.do(f, ended)
			}
			s := *f.lastStore()
			s.Changelog, s.Groups = last.Offset+1, s.Groups+1
			if !c.end {
				s.Start = 3
				f.died(s, f.now())
			}
			f.stores = append(f.stores, s)
			if c.wrong {
				mustFail(t, f, Stores, "the changelog below it has")
				return
			}
			undecided(t, f, "a store that has a group too many")
		})
	}
}

// TestOwnCompaction: what is older than fifty minutes Kafka may compact by itself.
func TestOwnCompaction(t *testing.T) {
	for wrong, late := range map[bool]time.Duration{true: compactsOwn - time.Minute, false: compactsOwn + time.Minute} {
		f := aRun()
		f.clock += int64(late)
		s := f.lastStore()
		s.Start, s.Groups = 3, s.Groups-1
		f.died(*s, f.now())
		if wrong {
			mustFail(t, f, Stores, "the changelog below it has")
			continue
		}
		undecided(t, f, "a store of an hour ago")
	}
}

// TestKilledStores: where every store of a killed node may have been on its way, the run has proved
// nothing of such stores, however much else the check has looked at.
func TestKilledStores(t *testing.T) {
	for stores, doubtful := range []bool{1: false, 2: true} {
		f := aRun()
		f.fault("compact", "one.changelog", "", f.now(), f.now())
		for i := range stores {
			s := &f.stores[len(f.stores)-1-i]
			s.Start, s.Groups = 3, s.Groups-1
			f.died(*s, f.now())
		}
		rep, err := f.judge()
		if err != nil {
			t.Fatal(err)
		}
		if c := rep.Of(Stores); c.Failures > 0 || len(c.Undecided) != stores || c.Doubtful() != doubtful {
			t.Errorf("%d stores: %+v", stores, c)
		}
	}
}

// TestMostlyExcused: a run in which faults excuse most of what there is of a kind has proved too
// little, and says how much it is.
func TestMostlyExcused(t *testing.T) {
	for excused, doubtful := range map[int64]bool{400: false, 401: true} {
		var k Check
		k.saw(100, "ages")
		k.excusedOf(90, "ages", "beside a broker")
		k.excusedOf(excused-90, "ages", "by a clock")
		var text strings.Builder
		k.write(&text)
		if want := fmt.Sprintf("~ not judged: 90 of %d ages, beside a broker", 100+excused); k.Doubtful() != doubtful || !strings.Contains(text.String(), want) {
			t.Errorf("%d excused: doubtful %v\n%s", excused, k.Doubtful(), text.String())
		}
	}
}

// TestAsked: questions that had no answer are counted.
func TestAsked(t *testing.T) {
	f := aRun()
	f.add(history.Event{Process: &history.Process{Name: "x", Start: 1, Started: time.UnixMilli(1)}})
	f.add(history.Event{Read: &history.Read{App: "one", Ask: "scan", Stale: true, Node: "x", Began: time.UnixMilli(2), Ended: time.UnixMilli(3),
		Error: "it did not answer"}})
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	_ = rep.WriteText(&text)
	for _, want := range []string{". scans that standbys may answer: 9 asked, 8 answered, 1 failed", ". scans: 8 asked, 8 answered, 0 failed"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, text.String())
		}
	}
}

// TestSeldomAnswered: half of the questions of each kind have to be answered, where there are more
// than a handful.
func TestSeldomAnswered(t *testing.T) {
	for _, c := range []struct {
		answered, failed int
		doubtful         bool
	}{{1, 19, false}, {10, 11, true}, {11, 10, false}, {50, 50, false}, {49, 51, true}} {
		var k Check
		k.saw(1000, "gets")
		for range 100 {
			k.ask("gets", true)
		}
		for range c.answered {
			k.ask("scans", true)
		}
		for range c.failed {
			k.ask("scans", false)
		}
		var text strings.Builder
		k.write(&text)
		if k.Doubtful() != c.doubtful || strings.Contains(text.String(), "too few answers") != c.doubtful || strings.Contains(text.String(), " ok ") == c.doubtful {
			t.Errorf("%d answers, %d failures: doubtful: %t\n%s", c.answered, c.failed, k.Doubtful(), text.String())
		}
	}
}

// TestAskedOfNobody: a question to a node that did not run all the while counts as none; one that a
// running node leaves without an answer does.
func TestAskedOfNobody(t *testing.T) {
	f := aRun()
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	for start, lived := range [][2]int64{{1000, 2000}, {3000, 0}} {
		p := history.Process{Name: "x", Start: start + 1, Started: at(lived[0])}
		f.add(history.Event{Process: &p})
		if lived[1] > 0 {
			p.Ended = at(lived[1])
			f.add(history.Event{Process: &p})
		}
	}
	for _, asked := range []struct {
		node     string
		from, to int64
	}{
		{"x", 1100, 1900}, {"x", 3000, 9000}, // it ran
		{"x", 500, 1500}, {"x", 1500, 2500}, {"x", 1500, 3500}, {"x", 2200, 2300}, {"y", 1100, 1200},
	} {
		f.add(history.Event{Read: &history.Read{App: "one", Ask: "scan", Stale: true, Node: asked.node, Began: at(asked.from), Ended: at(asked.to), Error: "no"}})
	}
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	if a := rep.Of(Reads).questions("scans that standbys may answer"); a.Asked-a.Answered != 2 || a.Nobody != 5 {
		t.Errorf("%+v", *a)
	}
}

// TestLastWithoutQuiet: where it never was quiet a last question without an answer is no failure of
// its own.
func TestLastWithoutQuiet(t *testing.T) {
	f := aRun()
	f.add(history.Event{Read: &history.Read{App: "one", Ask: "get", Last: true, Error: "nobody was there"}})
	for _, e := range f.events {
		if e.End != nil {
			e.End.QuietAfterMs = -1
		}
	}
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	if n := rep.Of(Reads).Failures; n > 0 || rep.Of(Quiet).Failures == 0 {
		t.Errorf("%d failures of answers: %+v", n, rep.Of(Reads).Examples)
	}
}

// TestFromWhen: it is said from when the quiet is counted.
func TestFromWhen(t *testing.T) {
	f := aRun()
	f.end().From, f.end().FromWhat = time.UnixMilli(1000), "the last fault and all that faults had begun"
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"quiet 900ms after the last fault and all that faults had begun, which was at 1970-01-01T00:00:01.000Z"}
	if got := rep.Of(Quiet).Notes; !slices.Equal(got, want) {
		t.Errorf("it says %q", got)
	}
}

// TestUnseen: what a check has to look at and has not seen is named.
func TestUnseen(t *testing.T) {
	f := aRun()
	f.events = slices.DeleteFunc(f.events, func(e history.Event) bool { return e.Sent != nil || e.Read != nil && e.Read.Ask == "top" })
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	_ = rep.WriteText(&text)
	if want := "! nothing seen: tops, ages, ages through two stages"; !strings.Contains(text.String(), want) {
		t.Errorf("it does not say %q:\n%s", want, text.String())
	}
}

// TestDoubtful: a check may leave a few things undecided, or a hundredth of what is of their kind,
// but not all of them. Of the stores of killed nodes it may leave half.
func TestDoubtful(t *testing.T) {
	for _, c := range []struct {
		left     int64
		of       string
		doubtful bool
	}{
		{10, "outputs", false}, {11, "outputs", true},
		{20, "parts of answers", false}, {21, "parts of answers", true},
		{2, "what nobody has counted", true},
		{9, "dead letters", false}, {10, "dead letters", true}, {1, "apps", false},
		{15, killedStores, false}, {16, killedStores, true},
	} {
		var k Check
		k.saw(100, "outputs")
		k.saw(1500, "parts of answers as owner")
		k.saw(500, "parts of answers as standby")
		k.saw(900, "answers")
		k.saw(10, "dead letters")
		k.saw(1, "apps")
		k.saw(30, killedStores)
		for range c.left {
			k.undecidedOf(1, c.of, "why")
		}
		if k.Doubtful() != c.doubtful || len(k.Undecided) != min(undecidedMax, int(c.left)) {
			t.Errorf("%d %s: %+v", c.left, c.of, k)
		}
	}
}
