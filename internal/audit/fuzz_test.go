package audit

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// FuzzSortedRuns: a file of sorted runs that is not what was written is an error, and no memory is
// taken for what it claims to hold.
func FuzzSortedRuns(f *testing.F) {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	for _, key := range []string{"", "a", "b", "b", "c"} {
		if err := writeEntry(w, []byte(key), []byte("value of "+key)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), b.Bytes())
	f.Add(b.Bytes()[:b.Len()-1], []byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte{0x80})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, []byte{1})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, one, two []byte) {
		tb := &table{dir: dir, name: "t", fanIn: 2, combine: func(dst, _, older, newer []byte) ([]byte, error) {
			return append(append(dst, older...), newer...), nil
		}}
		var files []string
		for i, b := range [][]byte{one, two} {
			name := filepath.Join(dir, []string{"one", "two"}[i])
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			files = append(files, name)
		}
		s, err := tb.open(files)
		if err != nil {
			return
		}
		defer s.close()
		total := 0
		for s.ok {
			total += len(s.value)
			if total > len(one)+len(two) {
				t.Fatalf("%d bytes of values out of %d", total, len(one)+len(two))
			}
			if err := s.next(); err != nil {
				return
			}
		}
	})
}

// FuzzChangelogRecord: a key that the audit takes is the one way to write what it says, and a
// position record that it takes can be counted with.
func FuzzChangelogRecord(f *testing.F) {
	for _, text := range []string{goldenValueKey, goldenValue, goldenBarrier, goldenPosition, "0170" + hex.EncodeToString([]byte(goldenRecord)), "", "01", "0170"} {
		b, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	p := compiled(parsed(f, words))
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := parseKey(b); err == nil {
			again := []byte{changelogFormat, key.kind, key.stage}
			if key.kind == kindValue {
				again = append(append(again, changelogSlot), key.group...)
			}
			if !bytes.Equal(again, b) {
				t.Fatalf("%x is taken for %+v", b, key)
			}
		}
		if body, err := parseBody(b, kindValue); err == nil {
			if v, err := p.DecodeValues(body, nil); err == nil && !bytes.Equal(p.AppendValues(nil, v), body) {
				t.Fatalf("%x is taken for %s", b, p.AppendValuesJSON(nil, v))
			}
		}
		if rec, err := parsePosition(b, 0, 3); err == nil && (rec.AppID == "" || rec.Partition != 3 || rec.Start < 0 || rec.Input < rec.Start) {
			t.Fatalf("%q is taken for %+v", b, rec)
		}
	})
}

// FuzzSentRecord: a key of the repartition topic that the audit takes is the one way to write what
// it says, and what it takes for sources can be counted with.
func FuzzSentRecord(f *testing.F) {
	for _, text := range []string{goldenPartialKey, goldenPartial, goldenSourcesKey, goldenSources, goldenBarrier, "", "0172", "0173010000"} {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if kind, group, err := parseSentKey(b); err == nil {
			again := []byte{changelogFormat, kind, b[2]}
			if kind == kindPartial {
				again = append(append(again, changelogSlot), group...)
			}
			if !bytes.Equal(again, b) {
				t.Fatalf("%x is taken for %c %x", b, kind, group)
			}
		}
		if _, next, err := parseSources(b); err == nil {
			for p, at := range next {
				if p < 0 || at < 0 {
					t.Fatalf("%x is taken for %v", b, next)
				}
			}
		}
		if g, values, err := parsePartial(b); err == nil && (g < 0 || len(values) > len(b)) {
			t.Fatalf("%x is taken for generation %d, %x", b, g, values)
		}
	})
}

// FuzzDeadLetter: a dead letter is of an event of its own partition, or it is foreign; and its
// entry reads back.
func FuzzDeadLetter(f *testing.F) {
	a := &audit{spec: &spec.Spec{}, generation: 1}
	a.input.Name = "in"
	f.Add("in", "3", "7", "1", "output: refused by the broker", []byte("k"), int64(9))
	f.Add("in", "3", "-7", "1", "", []byte(nil), int64(0))
	f.Add("other", "03", "07", "x", "", []byte(nil), int64(1)<<62)
	f.Fuzz(func(t *testing.T, topic, partition, offset, generation, reason string, key []byte, at int64) {
		r := &kgo.Record{Partition: 3, Offset: at, Key: key, Value: key}
		for _, h := range [][2]string{{"error", reason}, {"topic", topic}, {"partition", partition}, {"offset", offset}, {"tally.generation", generation}} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
		}
		event, err := a.eventOf(r)
		if err != nil {
			return
		}
		if topic != "in" || partition != "3" || event < 0 {
			t.Fatalf("%s/%s offset %s is taken for the event %d", topic, partition, offset, event)
		}
		if l := parseLetter(appendLetter(nil, r)); l.offset != at || l.sum != eventSum(key, key) {
			t.Fatalf("the letter %+v", l)
		}
		if p, got := parseEventKey(eventKey(nil, 3, event)); p != 3 || got != event {
			t.Fatalf("the event %d/%d", p, got)
		}
	})
}
