package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// settle waits until the node has counted the whole input, which no longer grows.
func (j *job) settle(p *process, r recount) api.AppStatus {
	j.t.Helper()
	return p.awaitStatus(90*time.Second, "the node has counted all of the input", func(st api.AppStatus) string {
		if missing := allRun(st); missing != "" {
			return missing
		}
		if done := st.Processed + st.Filtered + st.Skipped + st.Dead; done != r.events || st.Lag != 0 {
			return fmt.Sprintf("%d of %d events are counted, lag %d", done, r.events, st.Lag)
		}
		return ""
	})
}

// verify compares everything that can be seen with a recount of the input: the load is stopped,
// and the node p runs. It is the end of every test.
func (j *job) verify(p *process) {
	j.t.Helper()
	j.verifyFrom(p, nil)
}

// verifyFrom is verify for an app whose start offsets were not 0.
func (j *job) verifyFrom(p *process, from map[int32]int64) {
	j.t.Helper()
	began := time.Now()
	j.verifyNothingOpen(j.input()) // a marker that is yet to come would move the end
	r := j.recountInput(from)
	st := j.settle(p, r)
	if got := st.Dead + st.Skipped; got != r.unreadable {
		j.t.Errorf("%d events are dead or skipped, the input has %d that cannot be read", got, r.unreadable)
	}
	if st.Groups != int64(len(r.counts)) {
		j.t.Errorf("the status has %d groups, the recount %d counters", st.Groups, len(r.counts))
	}
	if st.Strays != r.keyless {
		j.t.Errorf("the status has %d strays, %d events have no key", st.Strays, r.keyless)
	}
	j.verifyNothingOpen(j.output(), j.app+".changelog")
	j.verifyOutput(r)
	j.verifyStore(p, r)
	j.verifyOffsets(r)
	j.verifyDead(r, st)
	if j.t.Failed() {
		j.t.FailNow()
	}
	j.t.Logf("exact: %d events, %d of them unreadable, %d counters, 0 differences (%.1f s)",
		r.events, r.unreadable, len(r.counts), time.Since(began).Seconds())
}

// verifyNothingOpen: no transaction is left that would block a reader.
func (j *job) verifyNothingOpen(topics ...string) {
	j.t.Helper()
	for _, topic := range topics {
		eventually(j.t, 5*time.Second, "the last stable offsets of "+topic+" are the ends", func() string {
			ends, err := j.s.admin.EndOffsets(j.ctx, topic, false)
			must(j.t, err)
			stable, err := j.s.admin.EndOffsets(j.ctx, topic, true)
			must(j.t, err)
			if !maps.Equal(ends, stable) {
				return fmt.Sprintf("stable %v, ends %v", stable, ends)
			}
			return ""
		})
	}
}

// verifyOutput: the last value of each counter is the recount's, and its count rises strictly on
// the way there (with emit: every, by one).
func (j *job) verifyOutput(r recount) {
	j.t.Helper()
	last := map[counter]value{}
	j.readCommitted(j.output(), func(rec *kgo.Record) {
		name, v, err := parseValue(rec.Value)
		must(j.t, err)
		parts := []string{name}
		if j.spec.amounts {
			parts = nil
		}
		c := counter{rec.Partition, groupOf(rec.Key, parts...)}
		before := last[c].count
		if v.count <= before || j.spec.emit == "every" && v.count != before+1 {
			j.t.Errorf("output partition %d offset %d: the count of %s goes from %d to %d",
				rec.Partition, rec.Offset, c.group, before, v.count)
		}
		last[c] = v
	})
	compare(j, "the output", last, r.counts)
}

// verifyStore: what the API's scan says is the recount.
func (j *job) verifyStore(p *process, r recount) {
	j.t.Helper()
	compare(j, "the store", j.scan(p), r.groups())
}

// scan asks for all groups.
func (j *job) scan(p *process) map[group]value {
	j.t.Helper()
	got := map[group]value{}
	_, err := p.client().Scan(j.ctx, j.app, nil, api.ReadOptions{Wait: 2 * time.Second}, func(c api.Count) error {
		var parts []*string
		if err := json.Unmarshal(c.Group, &parts); err != nil {
			return err
		}
		var key []byte
		if parts[0] != nil {
			key = []byte(*parts[0])
		}
		var rest []string
		for _, p := range parts[1:] {
			rest = append(rest, *p)
		}
		_, v, err := parseValue(c.Values)
		got[groupOf(key, rest...)] = v
		return err
	})
	must(j.t, err)
	return got
}

// compare reports up to ten differences.
func compare[K comparable](j *job, what string, got, want map[K]value) {
	j.t.Helper()
	differences := 0
	report := func(k K, got, want string) {
		if differences++; differences <= 10 {
			j.t.Errorf("%s has %v = %s, the recount %s", what, k, got, want)
		}
	}
	for k, w := range want {
		if g, ok := got[k]; !ok {
			report(k, "nothing", w.String())
		} else if !g.equal(w) {
			report(k, g.String(), w.String())
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			report(k, g.String(), "nothing")
		}
	}
	if differences > 0 {
		j.t.Errorf("%s: %d differences, %d values, %d in the recount", what, differences, len(got), len(want))
	}
}

// verifyOffsets: the consumer group stands behind the last event, and nowhere beyond the input's
// end. Markers at the very end are passed with the next transaction.
func (j *job) verifyOffsets(r recount) {
	j.t.Helper()
	offsets, err := j.s.admin.GroupOffsets(j.ctx, j.app, j.input())
	must(j.t, err)
	for p, end := range r.ends {
		if at, ok := offsets[p]; !ok || at < r.next[p] || at > end {
			j.t.Errorf("the consumer group is at %d (%t) of partition %d, whose events end at %d and which ends at %d",
				at, ok, p, r.next[p], end)
		}
	}
}

// verifyDead: each unreadable event is in the dead-letter topic once, as it was.
func (j *job) verifyDead(r recount, st api.AppStatus) {
	j.t.Helper()
	if j.spec.onError != "" && j.spec.onError != "dead" {
		return
	}
	seen := map[string]bool{}
	j.readCommitted(j.app+".dead", func(rec *kgo.Record) {
		var at string
		for _, h := range rec.Headers {
			if h.Key == "offset" {
				at = fmt.Sprintf("%d/%s", rec.Partition, h.Value)
			}
		}
		if _, ok := j.items(rec.Value); ok && !j.poisoned(rec) {
			j.t.Errorf("the dead letter of %s could have been read: %q", at, rec.Value)
		}
		if seen[at] {
			j.t.Errorf("the event %s has two dead letters", at)
		}
		seen[at] = true
	})
	if int64(len(seen)) != r.unreadable || st.Dead != r.unreadable {
		j.t.Errorf("%d dead letters, the status says %d, the input has %d", len(seen), st.Dead, r.unreadable)
	}
}

// readCommitted calls fn for every committed record of a topic.
func (j *job) readCommitted(topic string, fn func(*kgo.Record)) {
	j.t.Helper()
	ends, err := j.s.admin.EndOffsets(j.ctx, topic, true)
	must(j.t, err)
	for p, end := range ends {
		must(j.t, j.s.admin.Read(j.ctx, topic, p, 0, end, func(rec *kgo.Record) error {
			fn(rec)
			return nil
		}))
	}
}
