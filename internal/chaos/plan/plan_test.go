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
	if len(s.Faults) < 8 {
		t.Errorf("only %d faults", len(s.Faults))
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
at=1s kind=kill target="a`,
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q is read as\n%s", text, s)
		}
	}
}

// TestShrink: two faults that fail only together are found among many, and never more tries are
// made than there is time for.
func TestShrink(t *testing.T) {
	s := Draw(1, 12*time.Minute, options)
	one, other := s.Faults[17], s.Faults[90]
	failed := func(s Schedule) bool { return slices.Contains(s.Faults, one) && slices.Contains(s.Faults, other) }
	short := Shrink(s, 0, failed, func() bool { return false })
	if len(short.Faults) != 2 || !failed(short) {
		t.Errorf("it found\n%s", short)
	}
	if rest, want := short.Length-over(short.Faults), s.Length-over(s.Faults); rest != want || short.Length >= s.Length {
		t.Errorf("it ends %v after its last fault, at %v, and the whole ends %v after it, at %v", rest, short.Length, want, s.Length)
	}
	tries := 0
	Shrink(s, 0, func(s Schedule) bool { tries++; return failed(s) }, func() bool { return tries >= 3 })
	if tries != 3 {
		t.Errorf("%d tries in the time for 3", tries)
	}
}

// TestShrinkFromTheFailure: the first try are the faults up to the time at which the run was seen
// to fail; where those do not suffice, all are looked through.
func TestShrinkFromTheFailure(t *testing.T) {
	s := Draw(1, 12*time.Minute, options)
	for _, other := range []int{5, 90} {
		needed := []Fault{s.Faults[3], s.Faults[other]}
		failed := func(s Schedule) bool {
			return slices.Contains(s.Faults, needed[0]) && slices.Contains(s.Faults, needed[1])
		}
		tries := [][]Fault{}
		short := Shrink(s, s.Faults[9].At, func(s Schedule) bool {
			tries = append(tries, s.Faults)
			return failed(s)
		}, func() bool { return false })
		if len(short.Faults) != 2 || !failed(short) {
			t.Errorf("it found\n%s", short)
		}
		if len(tries[0]) != 10 {
			t.Errorf("the first try has %d faults", len(tries[0]))
		}
		for _, try := range tries[1:] {
			if other == 5 && len(try) >= 10 {
				t.Fatalf("a try has %d faults, and 10 suffice", len(try))
			}
		}
	}
}
