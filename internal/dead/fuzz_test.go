package dead

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/kafka"
)

// FuzzLetter: any record of the dead-letter topic is either a letter, whose headers give back what
// it says, or foreign, with all its headers as they are.
func FuzzLetter(f *testing.F) {
	own := "error=e\ntopic=in\npartition=0\noffset=7\ntimestamp=1795393111000\ntally.generation=1"
	f.Add("", []byte("v"))
	f.Add(own, []byte(nil))
	f.Add("a=b\n"+ReplayHeader+"=a.dead/0/3\n"+ReplayHeader+"=x\n"+own, []byte("v"))
	f.Add(own+"\n"+own, []byte("v"))
	f.Add(strings.Replace(own, "=7", "=99999999999999999999", 1), []byte("v"))
	f.Add(strings.Replace(own, "partition=0", "partition=-1", 1), []byte("v"))
	f.Fuzz(func(t *testing.T, lines string, value []byte) {
		r := kafka.Record{Partition: 1, Offset: 2, TimestampMs: 3, Value: value}
		for line := range strings.Lines(lines) {
			name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			r.Headers = append(r.Headers, kafka.Header{Key: name, Value: []byte(text)})
		}
		l := read(r)
		if l.Place != (Place{1, 2}) || l.WrittenMs != 3 || !bytes.Equal(l.Value, value) {
			t.Fatalf("%q: %+v", lines, l)
		}
		if l.Foreign {
			if len(l.Headers) != len(r.Headers) || l.Topic != "" || l.ReplayOf != "" {
				t.Fatalf("%q is foreign: %+v", lines, l)
			}
			return
		}
		if l.SourcePartition < 0 || l.SourceOffset < 0 {
			t.Fatalf("%q is of no event: %+v", lines, l)
		}
		ours := r.Headers[len(r.Headers)-len(headers):]
		if l.Error != string(ours[0].Value) || l.Topic != string(ours[1].Value) || l.Generation != string(ours[5].Value) {
			t.Fatalf("%q: %+v", lines, l)
		}
		for i, n := range []int64{int64(l.SourcePartition), l.SourceOffset, l.EventMs} {
			if got, err := strconv.ParseInt(string(ours[2+i].Value), 10, 64); err != nil || got != n {
				t.Fatalf("%q: %s is %d", lines, ours[2+i].Key, n)
			}
		}
		for _, h := range l.Headers {
			if h.Key == ReplayHeader {
				t.Fatalf("%q: a replay's header is taken for the event's", lines)
			}
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"0:17", "-1:0", "1", ":", "2147483648:0", "+1:+2", " 1:2", "1:2:3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlace(text)
		if err != nil {
			return
		}
		if again, err := ParsePlace(p.String()); err != nil || again != p || p.Partition < 0 || p.Offset < 0 {
			t.Fatalf("%q is %v, which is %v, %v", text, p, again, err)
		}
	})
}
