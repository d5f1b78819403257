package check

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// undecided holds a right run of which something was lost to what has to be said of it: not that it
// is wrong, and not that it is proved.
func undecided(t *testing.T, f *fake, what string) {
	t.Helper()
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	if rep.Failed() || rep.Proved() {
		var text strings.Builder
		_ = rep.WriteText(&text)
		t.Fatalf("%s:\n%s", what, text.String())
	}
}

// TestTrimmedBeforeRead: a marker that was trimmed away, with what lies before it, makes nothing
// wrong of a right run either.
func TestTrimmedBeforeRead(t *testing.T) {
	var markers []int64
	for _, r := range aRun().mem[twoMiddle] {
		if r.Control != Data {
			markers = append(markers, r.Offset)
		}
	}
	for _, at := range markers[:len(markers)-2] {
		f := aRun()
		f.mem[twoMiddle] = slices.DeleteFunc(f.mem[twoMiddle], func(r Record) bool { return r.Offset == at })
		undecided(t, f, fmt.Sprintf("%s without offset %d", twoMiddle, at))
	}
}

// TestCompactedBeforeRead: a position record that compaction has taken away before the follower
// read it, alone or with the value before it, makes nothing wrong of a right run.
func TestCompactedBeforeRead(t *testing.T) {
	for _, log := range []Place{oneLog, twoLog} {
		var positions []int64
		last := map[string]int64{} // of each task, which stays
		for _, r := range aRun().mem[log] {
			if isKind(kindPosition)(&r) {
				positions = append(positions, r.Offset)
				last[string(r.Key)] = r.Offset
			}
		}
		for _, at := range slices.DeleteFunc(positions, func(at int64) bool { return slices.Contains(slices.Collect(maps.Values(last)), at) }) {
			for _, from := range []int64{at, at - 1} {
				f := aRun()
				if from < at && !isKind(kindValue)(&f.mem[log][from]) {
					continue
				}
				f.mem[log] = slices.DeleteFunc(f.mem[log], func(r Record) bool { return from <= r.Offset && r.Offset <= at })
				undecided(t, f, fmt.Sprintf("%s without offsets %d to %d", log, from, at))
			}
		}
	}
}

// TestManyCompactedBeforeRead: so are many transactions in a row, of whose outputs nobody knows the
// positions then.
func TestManyCompactedBeforeRead(t *testing.T) {
	f := aRunOf(70)
	var positions []int64
	for _, r := range f.mem[oneLog] {
		if isKind(kindPosition)(&r) {
			positions = append(positions, r.Offset)
		}
	}
	const lost = 3 * aheadMax // of each three one has no outputs
	if len(positions) < lost+12 {
		t.Fatalf("there are %d positions", len(positions))
	}
	from, to := positions[10]-1, positions[10+lost]
	f.mem[oneLog] = slices.DeleteFunc(f.mem[oneLog], func(r Record) bool { return from <= r.Offset && r.Offset < to })
	undecided(t, f, fmt.Sprintf("%s without offsets %d to %d", oneLog, from, to))
}

// TestAnyLoss: whatever nobody has read, wherever it was, makes nothing wrong of a right run, and
// proves nothing.
func TestAnyLoss(t *testing.T) {
	logs := []Place{oneLog, twoLog, {"two.changelog", 1}, twoMiddle, {"two.repartition", 1}, offsetLog}
	seeds := uint64(150)
	if testing.Short() { // with -race, for which few do: a judge has no goroutine
		seeds = 15
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		f, lost := aRun(), ""
		for range 1 + r.IntN(4) {
			log := logs[r.IntN(len(logs))]
			size := 1 + r.Int64N(12)
			from := r.Int64N(int64(len(f.mem[log])) - size)
			f.mem[log] = slices.DeleteFunc(f.mem[log], func(r Record) bool { return from <= r.Offset && r.Offset < from+size })
			lost += fmt.Sprintf(" %s %d to %d;", log, from, from+size)
		}
		undecided(t, f, fmt.Sprintf("seed %d, without%s", seed, lost))
	}
}

// TestOffsetsBeforeRead: offsets of the consumer group that nobody has read are not missed, and
// those that are not there are.
func TestOffsetsBeforeRead(t *testing.T) {
	lose := func(f *fake, from, to int64) {
		f.mem[offsetLog] = slices.DeleteFunc(f.mem[offsetLog], func(r Record) bool { return from <= r.Offset && r.Offset < to })
	}
	whole := aRun()
	end := int64(len(whole.mem[offsetLog]))
	for from := range end - 8 {
		f := aRun()
		lose(f, from, from+6)
		undecided(t, f, fmt.Sprintf("%s without offsets %d to %d", offsetLog, from, from+6))
	}
	f := aRun()
	lose(f, 2, 6)
	vanish(f.find(offsetLog, 20, isData))
	mustFail(t, f, Whole, "of its offsets it has committed")
}

// TestStoreBesideALoss: a store that is not what was read of a changelog, of which a part is lost,
// is undecided, and not right.
func TestStoreBesideALoss(t *testing.T) {
	f := aRun()
	at := slices.IndexFunc(f.stores, func(s history.Store) bool { return s.App == "one" && s.Partition == 0 })
	f.stores[at].Groups--
	lost := slices.IndexFunc(f.mem[oneLog], func(r Record) bool { return r.Offset >= f.stores[at].Changelog && isKind(kindPosition)(&r) })
	f.mem[oneLog] = slices.Delete(f.mem[oneLog], lost, lost+1)
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	if c := rep.Of(Stores); c.Failures > 0 || !slices.Contains(c.UndecidedOf, Amount{openedStores, 1}) {
		t.Errorf("%+v", c)
	}
}

// mustFail holds a run of which something is lost, and something else is wrong, to what has to be
// said of the latter.
func mustFail(t *testing.T, f *fake, check int, says string) {
	t.Helper()
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	c := rep.Of(check)
	if !slices.ContainsFunc(c.Examples, func(e Difference) bool { return strings.Contains(e.Says, says) }) {
		t.Errorf("check %d does not say %q: %+v", check, says, c)
	}
}

// TestLossIsNarrow: what is lost in one place excuses nothing elsewhere.
func TestLossIsNarrow(t *testing.T) {
	twoMiddle1, twoLog1 := Place{"two.repartition", 1}, Place{"two.changelog", 1}
	late := func(f *fake, p Place, kind byte) *Record { // the last but one of them, of the second stage
		var all []*Record
		for i := range f.mem[p] {
			if r := &f.mem[p][i]; isKind(kind)(r) && (kind != kindPosition || r.Key[2] == 1) {
				all = append(all, r)
			}
		}
		return all[len(all)-2]
	}
	losses := map[string]func(f *fake){
		"partials":     func(f *fake) { f.mem[twoMiddle] = f.mem[twoMiddle][4:] },
		"more of them": func(f *fake) { f.mem[twoMiddle] = slices.Delete(f.mem[twoMiddle], 6, 14) },
		"changelog":    func(f *fake) { f.mem[twoLog] = f.mem[twoLog][8:] },
	}
	for name, lose := range losses {
		undecidedRun := aRun()
		lose(undecidedRun)
		undecided(t, undecidedRun, name)
		f := aRun()
		vanish(late(f, twoMiddle1, kindPartial))
		lose(f)
		mustFail(t, f, Mapped, "is not what its events add up to")
		for _, log := range []Place{twoLog, twoLog1} {
			f = aRun()
			changeNote(late(f, log, kindPosition), func(p *position) { p.Processed++ })
			lose(f)
			mustFail(t, f, Mapped, "it counts")
		}
		f = aRun()
		f.put(twoOut, Record{Txn: true, Producer: 5, Epoch: 1, Key: []byte(`["red"]`), Value: []byte(`{"item":"red","count":999}`)})
		f.put(twoOut, Record{Producer: 5, Epoch: 1, Control: Commit})
		lose(f)
		mustFail(t, f, Mapped, "without a position")
	}
}
