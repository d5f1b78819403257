package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
	for i := range rep.Checks {
		if c := &rep.Checks[i]; len(c.Unseen) > 0 {
			t.Errorf("check %d has seen none of %v", c.Number, c.Unseen)
		}
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

// TestCells: a fault counts once, and only if it came; where it is counted what it has hit, only if
// that is anything.
func TestCells(t *testing.T) {
	var all []history.Fault
	for id := range 3 {
		all = append(all, history.Fault{ID: id, Kind: "kill", Step: "flush", Exact: true, Signal: 1, Transitions: []string{"moving", "moving"}})
		all = append(all, all[len(all)-1])
	}
	all = append(all, history.Fault{ID: 3, Kind: "pause", Step: "poll", Failed: "nobody was there"}, history.Fault{ID: 4, Kind: "pause", Step: "poll"})
	for id, effects := range []int64{0, 0, 0, 1} {
		all = append(all, history.Fault{ID: 5 + id, Kind: "cut", Step: "poll", Signal: 1, Effects: effects})
	}
	c := CountCells(all, Kinds{[]string{"kill", "pause", "cut"}, []string{"cut"}})
	rows := len(Steps) + len(Transitions)
	if c.All != 3*rows || c.Hit != 2 || c.Exact != 1 || c.Faults != 5 || c.Signals != 4 || len(c.Unhit) != c.All-2 {
		t.Errorf("%+v", c)
	}
	if !slices.Contains(c.Unhit, Cell{"poll", "pause", 1}) || !slices.Contains(c.Unhit, Cell{"poll", "cut", 1}) || !slices.Contains(c.ByKind, Amount{"cut", 1}) {
		t.Errorf("%+v", c)
	}
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

// TestFolder judges the folder of a run once more, whose topics were saved since it had failed:
// CHAOS_FOLDER=DIR.
func TestFolder(t *testing.T) {
	dir := os.Getenv("CHAOS_FOLDER")
	if dir == "" {
		return
	}
	of, err := history.ReadRun(filepath.Join(dir, history.RunFile))
	if err != nil {
		t.Fatal(err)
	}
	run, err := ReadFolder(dir, OpenTopics(t.Context(), of, dir), Kinds{})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Judge(run)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	_ = rep.WriteText(&text)
	t.Log(text.String())
	if !rep.Proved() {
		t.Error("not proved")
	}
}
