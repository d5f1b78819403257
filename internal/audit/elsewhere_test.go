package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Once compaction has taken the position records of the time in which output.topic was another one,
// nobody can know of it: a counter that has not changed since is not missing. One that was changed
// by what is known to have been counted since is.
func TestOutputTopicChangedLongAgo(t *testing.T) {
	for _, c := range []struct {
		name, text string
		partitions int
		says       string
	}{
		{"one stage", words, 1, "the position records of that time are compacted away"},
		{"two stages", strings.Replace(words, "[key, item]", "[item]", 1), 2, "output.topic was another one before"}, // as partitions without an event say
	} {
		t.Run(c.name, func(t *testing.T) {
			p, text := onFake(t), c.text
			p.topic(p.in, c.partitions)
			p.use(text)
			n := p.start()
			p.send(p.in, event(0, "a", "x y"))
			n.settled(1)
			n.stop()
			now := p.out + "2"
			p.use(strings.Replace(text, "$OUT", now, 1))
			n = p.start(n.dir)
			for i, value := range []string{"x", "z", "x"} {
				p.send(p.in, event(0, "a", value))
				n.settled(int64(2 + i))
			}
			n.stop()
			p.node = nil
			p.forgetFirst(2)
			p.undecides(p.audit(), "1 counters have no output in "+now, c.says)
			p.without(now, `"z"`)
			r := p.audit()
			p.finds(r, OutputMissing, p.in, 0, 2, `"z"`)
			if r.Found != 1 || !strings.Contains(strings.Join(r.Undecided, " "), "1 counters have no output in "+now) {
				t.Error(p.dump(r))
			}
		})
	}
}

// forgetFirst takes the position records of the first transactions of each task away, as compaction
// does.
func (p *place) forgetFirst(n uint64) {
	p.t.Helper()
	p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
		newest := map[string]uint64{}
		txn := func(r *kgo.Record) uint64 {
			rec, err := parsePosition(r.Value, r.Key[2], r.Partition)
			p.must(err)
			return rec.Txn
		}
		for _, r := range all {
			if r.Key[1] == kindPosition {
				newest[string(r.Key)] = txn(r)
			}
		}
		return slices.DeleteFunc(all, func(r *kgo.Record) bool {
			return r.Key[1] == kindPosition && txn(r) <= n && txn(r) < newest[string(r.Key)]
		})
	})
}
