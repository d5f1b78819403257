package plan

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

var options = Options{Nodes: []string{"a", "b", "c"}, Spare: []string{"d"}, Apps: []string{"one", "two"}, Lanes: 4, Brokers: 3}

// TestDraw: for many seeds, a schedule comes back from its text, keeps one broker away at a time
// and its end quiet, and has what a run of twelve minutes shall have.
func TestDraw(t *testing.T) {
	for seed := range uint64(200) {
		for _, length := range []time.Duration{75 * time.Second, 12 * time.Minute} {
			s := Draw(seed, length, options)
			s.Load = Load{Rate: int(seed), Keys: int(seed % 3 * 1000), Even: seed%2 == 0, Press: seed%3 == 0}
			if again := Draw(seed, length, options); !reflect.DeepEqual(s.Faults, again.Faults) {
				t.Fatal("the same seed gives another schedule")
			}
			back, err := Parse("# a comment\n\n" + s.String())
			if err != nil || !reflect.DeepEqual(back, s) {
				t.Fatalf("seed %d does not come back (%v):\n%s", seed, err, s)
			}
			wantRoom(t, s)
			if len(s.Faults) < 8 {
				t.Errorf("only %d faults", len(s.Faults))
			}
			if length > time.Minute*10 {
				wantEnough(t, s)
			}
		}
	}
}

func wantRoom(t *testing.T, s Schedule) {
	t.Helper()
	var away time.Duration
	for _, f := range s.Faults {
		if f.At+f.For > s.Length-30*time.Second {
			t.Errorf("%v lasts into the quiet", f)
		}
		if slices.Contains(OfBrokers, f.Kind) {
			if f.At < away {
				t.Errorf("%v comes while another broker is away", f)
			}
			away = f.At + f.For + 15*time.Second
		}
	}
}

func wantEnough(t *testing.T, s Schedule) {
	t.Helper()
	counts := map[Kind]int{}
	kills := 0
	for _, f := range s.Faults {
		counts[f.Kind]++
		switch {
		case f.Kind == Kill && f.Target == "all":
			kills += 3
		case f.Kind == Kill && f.Target == "two":
			kills += 2
		case slices.Contains([]Kind{Kill, Power, Wipe, Flip}, f.Kind):
			kills++
		}
	}
	for what, n := range map[string][2]int{
		"SIGKILLs": {kills, 60}, "SIGSTOPs": {counts[Stop] + counts[BrokerStop], 20},
		"cuts": {counts[Cut] + counts[Freeze] + counts[OneWay] + counts[BrokerCut], 20}, "broker kills": {counts[BrokerKill] + counts[ControllerKill], 6},
		"damaged stores": {counts[Wipe] + counts[Flip], 6},
	} {
		if n[0] < n[1] {
			t.Errorf("seed %d has %d %s, want %d", s.Seed, n[0], what, n[1])
		}
	}
}

// TestDrawBrokerCuts: brokers are cut off from each other in both directions, and in each alone.
func TestDrawBrokerCuts(t *testing.T) {
	drawn := map[string]int{}
	for seed := range uint64(20) {
		for _, f := range Draw(seed, 12*time.Minute, options).Faults {
			if f.Kind == BrokerCut {
				drawn[f.Param]++
			}
		}
	}
	for _, way := range []string{"cut", "freeze", "to", "from"} {
		if drawn[way] < 5 {
			t.Errorf("of %v the way %q is drawn too seldom", drawn, way)
		}
	}
}

// TestDrawEvenly: two hours of an even deck deal each row of the table to each kind at least three
// times, the least that counts.
func TestDrawEvenly(t *testing.T) {
	even := options
	even.Even = true
	for seed := range uint64(20) {
		if n := len(Rows()) - len(Transitions); !slices.Equal(RowsOf(Stall)[n:], []string{"acquiring", "restoring"}) {
			t.Fatalf("a stall is dealt %v", RowsOf(Stall))
		}
		dealt := map[Kind]map[string]int{}
		for _, f := range Draw(seed, 2*time.Hour, even).Faults {
			if dealt[f.Kind] == nil {
				dealt[f.Kind] = map[string]int{}
			}
			dealt[f.Kind][f.Step]++
		}
		for _, kind := range OfNodes {
			for _, row := range RowsOf(kind) {
				if n := dealt[kind][row]; n < 3 {
					t.Errorf("seed %d: %s comes %d times at %s", seed, kind, n, row)
				}
			}
		}
	}
}

// TestSchedules: what testdata has can be read.
func TestSchedules(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/chaos/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no schedules: ", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := Parse(string(text)); err != nil || len(s.Faults) == 0 {
			t.Errorf("%s: %d faults, %v", file, len(s.Faults), err)
		}
	}
}

// TestParseRefuses: what is no schedule is refused.
func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "seed=x length=1s", "seed=1 length=1", "seed=1 length=1s\nat=1s kind=nothing target=a",
		"seed=1 length=1s rate=0", "seed=1 length=1s keys=x", "seed=1 length=1s press=maybe", "seed=1 length=1s\nat=x kind=kill target=a", "seed=1 length=1s\nkill", `seed=1 length=1s
at=1s kind=kill target="a`, "seed=1 length=1s\nid=0 at=1s kind=kill target=a", "seed=1 length=1s\nid=x at=1s kind=kill target=a",
		"seed=1 length=1s\nid=2 at=1s kind=kill target=a\nid=2 at=2s kind=kill target=a", "seed=1 length=1s dealt=maybe",
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q is read as\n%s", text, s)
		}
	}
}

// TestIDs: a fault that has no id gets one of its own, and those of a shorter schedule are those of
// the whole one.
func TestIDs(t *testing.T) {
	s, err := Parse("seed=1 length=1m dealt=true\nid=3 at=1s kind=kill target=a\nat=2s kind=kill target=b\nat=3s kind=kill target=c\nat=4s kind=kill target=d\n")
	if err != nil || !s.Load.Dealt {
		t.Fatalf("%+v, %v", s, err)
	}
	var ids []int
	for _, f := range s.Faults {
		ids = append(ids, f.ID)
	}
	if !slices.Equal(ids, []int{3, 2, 4, 5}) {
		t.Errorf("the ids are %v", ids)
	}
	if short := s.with(s.Faults[2:]); short.Faults[0].ID != 4 || short.Faults[1].ID != 5 {
		t.Errorf("a shorter one has other ids:\n%v", short)
	}
}

// of is a fault whenever it comes: a shortened schedule has it earlier.
func of(f Fault) Fault { f.At = 0; return f }

// failing fails with all of these faults, and counts the tries and what they cost.
type failing struct {
	needs []Fault
	tries []Schedule
	cost  time.Duration
}

func (f *failing) failed(s Schedule) bool {
	f.tries, f.cost = append(f.tries, s), f.cost+s.Length
	return f.with(s)
}

func (f *failing) with(s Schedule) bool {
	return !slices.ContainsFunc(f.needs, func(n Fault) bool {
		return !slices.ContainsFunc(s.Faults, func(got Fault) bool { return of(got) == of(n) })
	})
}

func never() bool { return false }

// distinct are faults of a schedule that has no second one like them, each the first from a place
// on.
func distinct(s Schedule, from ...int) (faults []Fault) {
	for _, i := range from {
		for ; ; i++ {
			like := func(f Fault) bool { return of(f) == of(s.Faults[i]) }
			if all := slices.DeleteFunc(slices.Clone(s.Faults), func(f Fault) bool { return !like(f) }); len(all) == 1 {
				faults = append(faults, s.Faults[i])
				break
			}
		}
	}
	return faults
}

// TestShrink: two faults that fail only together are found among many, without the time between
// them in which nothing lasts; no schedule is tried twice, and none where there is no time.
func TestShrink(t *testing.T) {
	s := Draw(1, 12*time.Minute, options)
	f := &failing{needs: distinct(s, 17, 90)}
	short := Shrink(s, 0, f.failed, never)
	if len(short.Faults) != 2 || !f.with(short) {
		t.Errorf("it found\n%s", short)
	}
	if most := 2*pauseMost + short.Faults[0].For + short.Faults[1].For + brokerBack + tailMost; short.Length > most {
		t.Errorf("two faults take %v, and at most %v would do", short.Length, most)
	}
	seen := map[string]bool{}
	for _, try := range f.tries {
		if seen[try.String()] || len(try.Faults) == len(s.Faults) {
			t.Errorf("it tries once more\n%s", try)
		}
		seen[try.String()] = true
	}
	tries := 0
	if got := Shrink(s, 0, func(Schedule) bool { tries++; return false }, func() bool { return tries >= 3 }); tries != 3 || !reflect.DeepEqual(got, s) {
		t.Errorf("%d tries in the time for 3, and of what did not fail it gives\n%s", tries, got)
	}
}

// TestShrinkToNothing: what fails without any fault is seen at the first try, which is a short one.
func TestShrinkToNothing(t *testing.T) {
	f := &failing{}
	short := Shrink(Draw(1, 12*time.Minute, options), 3*time.Minute, f.failed, never)
	if len(short.Faults) != 0 || len(f.tries) != 1 || short.Length > loadLeast+tailMost || short.Length < loadLeast+30*time.Second {
		t.Errorf("after %d tries it found\n%s", len(f.tries), short)
	}
}

// TestShrinkFromTheFailure: behind the try without any fault come those that were shortly before
// the failure was seen, then more and more; where those do not suffice, all are looked through.
func TestShrinkFromTheFailure(t *testing.T) {
	s := Draw(1, 12*time.Minute, options)
	seen := distinct(s, 60)[0].At
	for _, c := range []struct {
		needs []Fault
		least time.Duration // of which window the first try that fails is
	}{
		{distinct(s, 59, 60), windows[0]}, {distinct(s, 40, 60), windows[1]}, {distinct(s, 3, 90), 0},
	} {
		f := &failing{needs: c.needs}
		short := Shrink(s, seen, f.failed, never)
		if len(short.Faults) != len(c.needs) || !f.with(short) {
			t.Errorf("it found\n%s", short)
		}
		if len(f.tries[0].Faults) != 0 {
			t.Errorf("the first try has faults:\n%s", f.tries[0])
		}
		first := f.tries[1+max(0, slices.Index(windows, c.least))]
		within := slices.DeleteFunc(slices.Clone(s.Faults), func(f Fault) bool { return f.At > seen || f.over() < seen-c.least })
		if c.least > 0 && len(first.Faults) != len(within) {
			t.Errorf("%d faults are tried, and in the last %v there were %d", len(first.Faults), c.least, len(within))
		}
		if fails := f.with(first); fails != (c.least > 0) {
			t.Errorf("the faults of %v before the failure fail: %t", c.least, fails)
		}
	}
}

// TestShortened: any part of a schedule keeps what overlaps as it was, its brokers one at a time,
// and its quiet end.
func TestShortened(t *testing.T) {
	for seed := range uint64(50) {
		s := Draw(seed, 12*time.Minute, options)
		for _, step := range []int{2, 3, 7, 20} {
			var part []Fault
			for i := int(seed) % step; i < len(s.Faults); i += step {
				part = append(part, s.Faults[i])
			}
			short := s.with(part)
			wantRoom(t, short)
			for i, f := range short.Faults {
				if of(f) != of(part[i]) {
					t.Fatalf("%v has become %v", part[i], f)
				}
				if i == 0 {
					continue
				}
				gap, was := f.At-short.Faults[i-1].At, part[i].At-part[i-1].At
				if gap > was || gap < min(was, pauseMost) || part[i].At < part[i-1].over() && gap != was {
					t.Errorf("%v comes %v behind the one before it, and came %v behind it", f, gap, was)
				}
			}
		}
	}
}
