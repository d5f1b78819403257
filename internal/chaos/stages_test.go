package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
)

// testTwoStages kills the node of an app that counts words whatever their key, in the steps that
// only such an app has, in those where its two stages meet, and, in the long run, in every step
// there is, three times. Before each kill it asks for what an event has brought and after it again.
func testTwoStages(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{lanes: stepLanes, byItem: true})
	m := j.machine("node")
	load := j.produce(1000, wordEvents(j.rand))
	pr := &promise{j: j, sent: map[int32]int64{}}
	steps := []step.Name{step.ProducePartial, step.Trim, step.EndTxnAnswered, step.Publish}
	rounds := 1
	if s.proof {
		rounds = 3
		steps = slices.DeleteFunc(slices.Concat(step.All, step.TwoStages), func(n step.Name) bool { return n == step.Ingest })
	}
	for round := range rounds {
		j.rand.Shuffle(len(steps), func(a, b int) { steps[a], steps[b] = steps[b], steps[a] })
		for i, name := range steps {
			j.killInStages(m, name, pr)
			if s.proof && i%6 == 5 {
				load.stop()
				p := m.start()
				pr.keep(p)
				j.verifyStages(p)
				p.kill()
				load = j.produce(1000, wordEvents(j.rand))
			}
		}
		t.Logf("round %d: killed at each of %d steps; %d answers were kept", round+1, len(steps), pr.kept)
	}
	load.stop()
	p := m.start()
	pr.keep(p)
	j.verifyStages(p)
	p.kill()
	must(t, os.RemoveAll(filepath.Join(m.dir, "state")))
	if s.proof {
		j.killAt(m, step.CatchUp, 1)
		must(t, os.RemoveAll(filepath.Join(m.dir, "state")))
	}
	p = m.start()
	pr.keep(p)
	j.verifyStages(p)
	p.stop()
	if pr.kept == 0 {
		t.Error("no answer was given before a kill")
	}
	if s.proof {
		wantSteps(t, j, steps)
	}
}

func wantSteps(t *testing.T, j *job, steps []step.Name) {
	t.Helper()
	text, err := os.ReadFile(j.stepLog())
	must(t, err)
	for _, name := range steps {
		if !slices.Contains(lines(string(text)), string(name)) {
			t.Errorf("the step %s was never hit", name)
		}
	}
}

// killInStages starts the node, asks it while it runs, and waits until it has killed itself.
func (j *job) killInStages(m *machine, name step.Name, pr *promise) {
	j.t.Helper()
	n := hits(j, name)
	switch name {
	case step.ProducePartial:
		n = 200 + j.rand.IntN(3000)
	case step.ProduceDead:
		n = 1
	}
	durable := m.durable()
	failpoint := fmt.Sprintf("%s:%d", name, n)
	p := m.start("TALLY_FAILPOINT="+failpoint, "TALLY_FAILPOINT_LOG="+j.stepLog())
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		pr.ask(p)
	}()
	p.awaitKill(40*time.Second, failpoint)
	<-asked
	p.wantRestoreFrom(durable)
	j.verifyTrim()
}

// verifyTrim: nobody has deleted partials that are not known to be counted. The node is dead, so
// that no transaction is on its way but the one that it has left open.
func (j *job) verifyTrim() {
	j.t.Helper()
	topic := j.app + ".repartition"
	if _, made, err := j.s.admin.Topic(j.ctx, topic); err != nil || !made {
		return // it died before
	}
	starts, err := j.s.admin.StartOffsets(j.ctx, topic)
	must(j.t, err)
	eventually(j.t, 5*time.Second, "what is trimmed is committed", func() string { // its marker may be on its way
		committed, err := j.s.admin.SettledOffsets(j.ctx, j.app, topic, slices.Collect(maps.Keys(starts))...)
		must(j.t, err)
		for q, start := range starts {
			if start > committed[q] {
				return fmt.Sprintf("partition %d is trimmed to %d, and %d is committed", q, start, committed[q])
			}
		}
		return ""
	})
}

// promise is what the node has answered to questions for what an event has brought: it must be
// shown from then on, also after a kill.
type promise struct {
	j     *job
	sent  map[int32]int64 // events of the word that is asked for, by partition
	shown int64
	kept  int
}

var promised = group(`["promised"]`)

// ask sends an event, again and again, and asks for what it has brought, until the node is dead.
func (pr *promise) ask(p *process) {
	cl, err := pr.j.s.kafka.Client(kgo.DefaultProduceTopic(pr.j.input()))
	if err != nil {
		pr.j.t.Error(err)
		return
	}
	defer cl.Close()
	for !p.ended() {
		if asksAt.FindString(p.text()) == "" {
			<-time.After(10 * time.Millisecond)
			continue
		}
		pr.askOnce(cl, p)
	}
}

func (pr *promise) askOnce(cl *kgo.Client, p *process) {
	ctx, cancel := context.WithTimeout(pr.j.ctx, 10*time.Second)
	defer cancel()
	rec := &kgo.Record{Key: fmt.Append(nil, len(pr.sent), pr.kept), Value: []byte("promised")}
	if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
		pr.j.t.Errorf("send what is asked for: %v", err)
		return
	}
	pr.sent[rec.Partition]++
	after := fmt.Sprintf("%s/%d:%d", pr.j.input(), rec.Partition, rec.Offset)
	n, err := pr.get(ctx, p, api.ReadOptions{Wait: 3 * time.Second, After: []string{after}})
	if err != nil {
		return // it has died, or has not come so far
	}
	if n < pr.shown || n < pr.sent[rec.Partition] {
		pr.j.t.Errorf("after %s: %d; %d were shown before, and the partition has %d", after, n, pr.shown, pr.sent[rec.Partition])
	}
	pr.shown = max(pr.shown, n)
	pr.kept++
}

func (pr *promise) get(ctx context.Context, p *process, o api.ReadOptions) (int64, error) {
	answer, err := p.client().Get(ctx, pr.j.app, []byte(promised), o)
	if err != nil || !answer.Found {
		return 0, err
	}
	_, v, err := parseValue(answer.Values)
	return v.count, err
}

// keep holds a node that runs to what others have shown.
func (pr *promise) keep(p *process) {
	t := pr.j.t
	t.Helper()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	n, err := pr.get(pr.j.ctx, p, api.ReadOptions{Wait: -1})
	must(t, err)
	if n < pr.shown {
		t.Errorf("%s is %d, and %d were shown before", promised, n, pr.shown)
	}
}

// verifyStages is verify for an app of two stages.
func (j *job) verifyStages(p *process) {
	j.t.Helper()
	began := time.Now()
	j.verifyNothingOpen(j.input())
	r := j.recountInput(nil)
	want := wordsOfAll(r)
	st := j.settle(p, r)
	p.awaitStatus(30*time.Second, "both stages have counted all", func(st api.AppStatus) string {
		if st.RepartitionLag != 0 {
			return fmt.Sprintf("%d records of the repartition topic are left", st.RepartitionLag)
		}
		return ""
	})
	if st = p.awaitStatus(time.Second, "the status answers", allRun); st.Groups != int64(len(want)) || st.Strays != 0 {
		j.t.Errorf("the status has %d groups and %d strays, the recount %d groups", st.Groups, st.Strays, len(want))
	}
	j.verifyNothingOpen(j.output(), j.app+".changelog", j.app+".repartition")
	j.verifyOutputByItem(want)
	compare(j, "the store", j.scan(p), want)
	j.verifyOffsets(r)
	j.verifyTrim()
	j.verifyDead(r, st)
	if j.t.Failed() {
		j.t.FailNow()
	}
	j.t.Logf("exact in two stages: %d events, %d groups, 0 differences (%.1f s)", r.events, len(want), time.Since(began).Seconds())
}

// wordsOfAll adds a recount up by word, whatever the key.
func wordsOfAll(r recount) map[group]value {
	sums := map[group]value{}
	for c, v := range r.counts {
		var parts []*string
		if err := json.Unmarshal([]byte(c.group), &parts); err != nil {
			panic(err)
		}
		word := groupOf([]byte(*parts[1]))
		sums[word] = add(sums[word], v)
	}
	return sums
}

// verifyOutputByItem: each word's outputs lie in one partition, rise strictly and end at the
// recount's.
func (j *job) verifyOutputByItem(want map[group]value) {
	j.t.Helper()
	last, where := map[group]value{}, map[group]int32{}
	j.readCommitted(j.output(), func(rec *kgo.Record) {
		name, v, err := parseValue(rec.Value)
		must(j.t, err)
		g := groupOf([]byte(name))
		before, known := last[g]
		if v.count <= before.count || known && where[g] != rec.Partition {
			j.t.Errorf("output partition %d offset %d: the count of %s goes from %d in partition %d to %d",
				rec.Partition, rec.Offset, g, before.count, where[g], v.count)
		}
		last[g], where[g] = v, rec.Partition
	})
	compare(j, "the output", last, want)
}
