package check

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// wantDifferences: a failure that says something of a counter names it, with both sides, and they
// differ.
func wantDifferences(t *testing.T, c *Check) {
	t.Helper()
	for _, d := range c.Examples {
		if about := strings.Contains(d.Says, `["`) || strings.Contains(d.Says, "[null"); about && d.Counter == "" {
			t.Errorf("check %d does not name the counter: %s", c.Number, d.Says)
		}
		if (d.Counter != "" || d.Expected != "" || d.Found != "") && (d.Expected == "" || d.Found == "" || d.Expected == d.Found) {
			t.Errorf("check %d expects %q and finds %q: %s", c.Number, d.Expected, d.Found, d.Says)
		}
	}
}

// TestDifferences: what is wrong is written with the counter, both sides and the moment of the
// transaction that shows it, and the first of all such moments is the report's.
func TestDifferences(t *testing.T) {
	f := aRun()
	r := f.find(oneLog, 1, isKind(kindValue))
	r.Value = append([]byte{1, kindValue}, encodeAll([]decimal{{coef: 50}, {coef: 1}})...)
	var marker *Record
	for i := range f.mem[oneLog] {
		if m := &f.mem[oneLog][i]; m.Control == Commit && m.Offset > r.Offset {
			marker = m
			break
		}
	}
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(marker.SeenMs).UTC()
	if first := rep.First(f.run.Began); !first.Equal(at) {
		t.Errorf("the first failure is said to be at %v, and was at %v", first, at)
	}
	if first := rep.First(at.Add(time.Millisecond)); !first.After(at) {
		t.Errorf("the first one after %v is said to be at %v", at, first)
	}
	var out bytes.Buffer
	if err := rep.WriteDifferences(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"check 2, " + says[Mapped], `one.changelog/0 offset `, "\n    at        " + at.Format(timeFormat) + "\n    counter   [\"k0-", "\n    expected  1/", "\n    found     50/1\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
	if clean, err := aRun().judge(); err != nil || !clean.First(time.Time{}).IsZero() || clean.WriteDifferences(&out) != nil {
		t.Errorf("a right run has a first failure (%v)", err)
	}
}

// TestDifferenceOfAnAnswer: a wrong answer is of the moment when it came, not of the transaction
// that shows that it is wrong.
func TestDifferenceOfAnAnswer(t *testing.T) {
	f := aRun()
	r := f.readAt("one", "get", roleOwner, 1, 0)
	r.Parts[0].Values = []byte(`{"count":77,"total":1}`)
	r.Counts = []history.Count{{Group: r.Asked, Values: r.Parts[0].Values}}
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	found := rep.Of(Reads).Examples
	if len(found) != 1 || found[0].Found != "77/1" || found[0].Counter != r.Asked || !found[0].At.Equal(r.Ended.Truncate(time.Millisecond)) {
		t.Errorf("of the answer at %v it says %+v", r.Ended, found)
	}
}

// spooled writes a fake run's topics as a follower does.
func spooled(t *testing.T, f *fake) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, TopicDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for p, log := range f.mem {
		w, err := createSpool(filepath.Join(dir, TopicDir), p)
		if err != nil {
			t.Fatal(err)
		}
		for i := range log {
			if err := w.write(&log[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lineOf is the text's line of an offset; "" where there is none.
func lineOf(t *testing.T, dir, file, offset string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, TopicDir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, offset) {
			return line
		}
	}
	return ""
}

// TestTexts: each topic can be read by a person: where its records are, how their transactions
// ended, and what is in them.
func TestTexts(t *testing.T) {
	f := aRun()
	odd := Place{"a/b", 3}
	f.mem[odd] = []Record{
		{Offset: 0, Producer: -1, TimeMs: 1_000_000_000_123, Key: []byte("k"), Value: []byte(`{"a": 1}`), Headers: []Header{{"offset", "7"}, {"odd", "\x00"}}},
		{Offset: 1, Producer: -1, Value: []byte("two\nlines")},
		{Offset: 2, Producer: 9, Epoch: 3, Txn: true, Key: []byte{}, Value: []byte("wüst")},
		{Offset: 3, Producer: 9, Epoch: 4, Control: Abort},
		{Offset: 4, Producer: 9, Epoch: 4, Txn: true, Value: []byte("v")},
		{Offset: 9, Producer: 9, Epoch: 7, Control: Commit},
		{Offset: 10, Producer: 9, Epoch: 7, Txn: true, Value: []byte("v")},
		{Offset: 11, Producer: 9, Epoch: 8, Control: Commit},
		{Offset: 12, Producer: 9, Epoch: 8, Txn: true, Value: []byte("v")},
	}
	f.mem[Place{"empty", 0}] = nil
	foreign := f.put(oneLog, Record{Key: []byte("foreign"), Value: []byte("x")})
	dir := spooled(t, f)
	if err := WriteTexts(f.run, dir); err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[string]string{
		"# a/b/3": "# a/b/3\n",
		"0":       "0\t2001-09-09T01:46:40.123Z\t-\tnone\tk\t{\"a\": 1}\toffset=7 odd=\"\\x00\"\n",
		"1\t":     "1\t1970-01-01T00:00:00.000Z\t-\tnone\t(null)\t\"two\\nlines\"\n",
		"2":       "2\t1970-01-01T00:00:00.000Z\t9/3\taborted\t\twüst\n",
		"3":       "3\t1970-01-01T00:00:00.000Z\t9/4\tABORT\n",
		"4":       "4\t1970-01-01T00:00:00.000Z\t9/4\tunknown\t(null)\tv\n",
		"# the":   "# the offsets 5 to 8 are not there: compacted, trimmed, or a gap of Kafka's\n",
		"9":       "9\t1970-01-01T00:00:00.000Z\t9/7\tCOMMIT\n",
		"10":      "10\t1970-01-01T00:00:00.000Z\t9/7\tcommitted\t(null)\tv\n",
		"12":      "12\t1970-01-01T00:00:00.000Z\t9/8\topen\t(null)\tv\n",
	} {
		if got := lineOf(t, dir, "a%2Fb-3.txt", offset); got != want {
			t.Errorf("of %s it says %q, not %q", offset, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, TopicDir, "empty-0.txt")); !os.IsNotExist(err) {
		t.Errorf("an empty log has a text (%v)", err)
	}
	if got := lineOf(t, dir, "one.changelog-0.txt", fmt.Sprint(foreign)); !strings.HasSuffix(got, "none\tforeign\tx (the key is not of the format)\n") {
		t.Errorf("of a foreign record it says %q", got)
	}
	value, partial := f.find(oneLog, 0, isKind(kindValue)), f.find(twoMiddle, 0, isKind(kindPartial))
	sources, note := f.find(twoMiddle, 0, isKind(kindSources)), f.find(twoLog, 1, isSecond)
	for _, c := range []struct {
		file string
		rec  *Record
		want string
	}{
		{"one.changelog-0.txt", value, "\tcommitted\tvalue of stage 0 [\"k0-0\"]\tcount="},
		{"two.repartition-0.txt", partial, "\tcommitted\tpartial of stage 0 [\""},
		{"two.repartition-0.txt", partial, "\tof lane 0: count="},
		{"two.repartition-0.txt", sources, "\tsources of stage 0\tof lane 0: partition 0 up to "},
		{"two.changelog-0.txt", note, "\tposition of stage 1\t{"},
		{"one.changelog-0.txt", f.find(oneLog, 0, isKind(kindBarrier)), "\tbarrier of stage 0\t{"},
		{OffsetsTopic + "-0.txt", f.find(offsetLog, 0, isData), "\tcommitted\toffset of one at one-in/0\t0\n"},
	} {
		if got := lineOf(t, dir, c.file, fmt.Sprint(c.rec.Offset)+"\t"); !strings.Contains(got, c.want) {
			t.Errorf("%s: of offset %d it says %q, without %q", c.file, c.rec.Offset, got, c.want)
		}
	}
}

// TestSavedTextsAreFound: the place of a spool is that of its file.
func TestSavedTextsAreFound(t *testing.T) {
	for _, p := range []Place{{"one.changelog", 0}, {"a-b/c", 12}, {OffsetsTopic, 7}} {
		if got, ok := placeOf(filepath.Base(spoolPath("x", p))); !ok || got != p {
			t.Errorf("%v comes back as %v", p, got)
		}
	}
	for _, name := range []string{"one-0.txt", "one.log", "one-x.log"} {
		if p, ok := placeOf(name); ok {
			t.Errorf("%s is taken for %v", name, p)
		}
	}
}
