package chaos

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// row is what one fault came to.
type row struct {
	what    string
	gap     time.Duration
	aborted int
}

// begin has events sent to both apps, until pause.
func (f *fleet) begin(perSecond int) {
	for i, j := range f.jobs {
		f.loads = append(f.loads, j.produce(perSecond, f.gauges[i].event))
	}
}

// pause ends the events, and waits until all of them are counted.
func (f *fleet) pause() {
	for _, l := range f.loads {
		l.stop()
	}
	f.loads = nil
}

// verify stops the events and looks at what has to be so after a fault: each lane has one owner and
// a standby that is ready, nothing waits, no transaction is open, epochs do not fall; and with
// audit, tally's own recount.
func (f *fleet) verify(alive int, audit bool) {
	f.t.Helper()
	f.pause()
	f.awaitHealthy(30*time.Second, alive)
	for _, j := range f.jobs {
		p := f.any().of(j)
		j.verifyNothingOpen(j.input())
		j.awaitNothingWaits(p)
		j.verifyNothingOpen(j.output(), j.app+".changelog")
		j.verifyEpochs()
		if audit {
			j.verifyAudit(p)
		}
	}
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// verifyWhole is verify with the suite's recount beside tally's: the end of it all.
func (f *fleet) verifyWhole() {
	f.t.Helper()
	f.verify(3, true)
	for _, j := range f.jobs {
		if p := f.any().of(j); j.spec.byItem {
			j.verifyStages(p)
		} else {
			j.verify(p)
		}
	}
}

func (j *job) awaitNothingWaits(p *process) {
	j.t.Helper()
	eventually(j.t, 30*time.Second, "nothing waits in app "+j.app, func() string {
		st, err := p.status()
		if err != nil {
			return err.Error()
		}
		if st.Lag != 0 || st.RepartitionLag != 0 {
			return fmt.Sprintf("lag %d, of the repartition topic %d", st.Lag, st.RepartitionLag)
		}
		return allRun(st)
	})
}

// verifyEpochs: in the order of each changelog partition, epochs never fall, and transactions are
// one chain: no two nodes wrote under one epoch.
func (j *job) verifyEpochs() {
	j.t.Helper()
	type place struct {
		partition int32
		epoch     uint64
	}
	last, by := map[int32]uint64{}, map[place]string{}
	for _, n := range j.notes() {
		if n.Epoch < last[n.Partition] {
			j.t.Errorf("changelog partition %d offset %d: epoch %d behind epoch %d", n.Partition, n.Offset, n.Epoch, last[n.Partition])
		}
		last[n.Partition] = n.Epoch
		at := place{n.Partition, n.Epoch}
		if who := by[at]; who != "" && who != n.Incarnation {
			j.t.Errorf("changelog partition %d offset %d: %s and %s wrote under epoch %d", n.Partition, n.Offset, who, n.Incarnation, n.Epoch)
		}
		by[at] = n.Incarnation
	}
}

// ends are the ends of what the apps write.
func (f *fleet) ends() map[string]map[int32]int64 {
	f.t.Helper()
	ends := map[string]map[int32]int64{}
	for _, j := range f.jobs {
		for _, topic := range []string{j.output(), j.app + ".changelog"} {
			at, err := f.s.admin.EndOffsets(f.ctx, topic, false)
			must(f.t, err)
			ends[topic] = at
		}
	}
	return ends
}

// abortedSince counts the transactions that were aborted between then and now, by partition that
// they wrote to.
func (f *fleet) abortedSince(then map[string]map[int32]int64) (aborted int) {
	f.t.Helper()
	now := f.ends()
	for topic, from := range then {
		for p, at := range from {
			aborted += f.abortedIn(topic, p, at, now[topic][p])
		}
	}
	return aborted
}

func (f *fleet) abortedIn(topic string, p int32, from, to int64) (aborted int) {
	f.t.Helper()
	if from >= to {
		return 0
	}
	cl, err := f.s.kafka.Client(kgo.KeepControlRecords(), kgo.FetchIsolationLevel(kgo.ReadUncommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {p: kgo.NewOffset().At(from)}}))
	must(f.t, err)
	defer cl.Close()
	for next := from; next < to; {
		fetches := cl.PollFetches(f.ctx)
		must(f.t, fetches.Err())
		fetches.EachRecord(func(rec *kgo.Record) {
			next = rec.Offset + 1
			if rec.Attrs.IsControl() && rec.Offset < to && len(rec.Key) >= 4 && binary.BigEndian.Uint16(rec.Key[2:]) == 0 {
				aborted++
			}
		})
	}
	return aborted
}

// testAbortedIsSeen: what counts aborted transactions sees one.
func testAbortedIsSeen(t *testing.T, s *suite) {
	f := &fleet{t: t, s: s, ctx: ctxOf(t)}
	must(t, s.admin.Create(f.ctx, kafka.TopicSpec{Name: "fleet-aborted", Partitions: 1, Replication: s.replicas}))
	cl, err := s.kafka.Client(kgo.TransactionalID("fleet-aborted"), kgo.DefaultProduceTopic("fleet-aborted"))
	must(t, err)
	defer cl.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		must(t, cl.BeginTransaction())
		must(t, cl.ProduceSync(f.ctx, kgo.StringRecord("x")).FirstErr())
		must(t, cl.EndTransaction(f.ctx, end))
	}
	if n := f.abortedIn("fleet-aborted", 0, 0, 4); n != 1 {
		t.Fatalf("%d aborted transactions are seen of 1", n)
	}
}

// phases say what the nodes' logs have of the time after a fault, in ms.
func (f *fleet) phases(since time.Time) string {
	var found []string
	said := map[string]bool{}
	for _, log := range f.logs() {
		text, _ := os.ReadFile(log)
		for _, line := range lines(string(text)) {
			var e struct {
				Time    time.Time
				Msg     string
				App     string
				Lane    int
				Version int
				Node    string
			}
			if json.Unmarshal([]byte(line), &e) != nil || e.Time.Before(since) || len(found) > 80 {
				continue
			}
			what := e.Msg
			switch e.Msg {
			case "a node is dead":
				what = "dead " + e.Node
			case "a plan was taken":
				what = "plan"
			case "leading the cluster":
				what = "leads"
			case "restored", "running", "standing by":
				what = fmt.Sprintf("%s %s/%d", e.Msg, strings.TrimPrefix(e.App, "fleet-"), e.Lane)
			default:
				if strings.Contains(line, `"level":"INFO"`) || strings.HasPrefix(what, "raft: ") || strings.HasPrefix(what, "strays: ") {
					continue
				}
			}
			if what == "plan" && said[what] {
				continue
			}
			said[what] = true
			found = append(found, fmt.Sprintf("%05d %s", e.Time.Sub(since).Milliseconds(), what))
		}
	}
	slices.Sort(found)
	return strings.Join(found, "; ")
}

// row measures what comes of a fault: do ends when the cluster is as it shall be again.
func (f *fleet) row(what string, alive int, do func()) {
	f.t.Helper()
	then, began := f.ends(), time.Now()
	do()
	f.awaitHealthy(60*time.Second, alive)
	f.awaitCalm(began)
	var worst sample
	for _, g := range f.gauges {
		if s := g.worst(began.Add(-time.Second)); s.took > worst.took {
			worst = s
		}
	}
	r := row{what: what, gap: worst.took, aborted: f.abortedSince(then)}
	f.rows = append(f.rows, r)
	f.t.Logf("%s: gap %d ms (%s, sent %d ms after it), %d aborted", what, worst.took.Milliseconds(), worst.word,
		worst.sent.Sub(began).Milliseconds(), r.aborted)
	if worst.took > 500*time.Millisecond || os.Getenv("CHAOS_PHASES") != "" {
		f.t.Logf("%s: %s", what, f.phases(began))
	}
}

// longest is the largest gap of the rows from one on.
func (f *fleet) longest(from int) (gap time.Duration) {
	for _, r := range f.rows[from:] {
		gap = max(gap, r.gap)
	}
	return gap
}

// awaitCalm waits until every event that was sent before now has come out.
func (f *fleet) awaitCalm(began time.Time) {
	f.t.Helper()
	want := map[*gauge]map[string]int{}
	for _, g := range f.gauges {
		g.mu.Lock()
		want[g] = map[string]int{}
		for word, sent := range g.sent {
			want[g][word] = len(sent)
		}
		g.mu.Unlock()
	}
	eventually(f.t, 60*time.Second, "what was sent has come out", func() string {
		for g, words := range want {
			g.mu.Lock()
			seen := maps.Clone(g.seen)
			g.mu.Unlock()
			for word, n := range words {
				if seen[word] < n {
					return fmt.Sprintf("app %s: %s has come to %d of %d, %s after the fault", g.j.app, word, seen[word], n, time.Since(began))
				}
			}
		}
		return ""
	})
}

// table prints the gaps of each fault.
func (f *fleet) table() {
	by, order := map[string][]time.Duration{}, []string{}
	aborted := map[string]int{}
	for _, r := range f.rows {
		if by[r.what] == nil {
			order = append(order, r.what)
		}
		by[r.what] = append(by[r.what], r.gap)
		aborted[r.what] += r.aborted
	}
	text := fmt.Sprintf("%-44s %5s %8s %8s %8s", "fault", "tries", "p50 ms", "max ms", "aborted")
	for _, what := range order {
		p50, worst := spread(by[what])
		text += fmt.Sprintf("\n%-44s %5d %8d %8d %8d", what, len(by[what]), p50, worst, aborted[what])
	}
	f.t.Log("\n" + text)
}
