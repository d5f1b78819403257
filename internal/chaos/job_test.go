package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

const partitions = 4

// job is one app under test, with topics of its own.
type job struct {
	t        testing.TB
	s        *suite
	ctx      context.Context
	rand     *rand.Rand
	app      string
	spec     jobSpec
	specFile string
	dir      string
	id       string                 // the app's, once known
	poison   func(*kgo.Record) bool // events that the broker will refuse
}

// jobSpec is what differs between the specs of the tests. The zero value counts words per key.
type jobSpec struct {
	lanes   int    // 0: not said
	onError string // default dead
	emit    string // default latest
	start   string // default earliest
	amounts bool   // JSON with an amount: its sum and its maximum per key
	byItem  bool   // words whatever their key: two stages
}

func (j *job) poisoned(rec *kgo.Record) bool { return j.poison != nil && j.poison(rec) }

func (j *job) input() string  { return j.app + "-in" }
func (j *job) output() string { return j.app + "-out" }

// newJob makes the input, with a limit on timestamps that lets events of the future in, and the
// spec.
func newJob(t *testing.T, s *suite, spec jobSpec) *job {
	t.Helper()
	return newJobNamed(t, s, spec, "chaos-"+strings.ToLower(filepath.Base(t.Name())))
}

func newJobNamed(t testing.TB, s *suite, spec jobSpec, app string) *job {
	t.Helper()
	j := &job{t: t, s: s, ctx: ctxOf(t), rand: s.rand(t), spec: spec, dir: t.TempDir(), app: app}
	j.specFile = filepath.Join(j.dir, "spec.yaml")
	j.writeSpec()
	must(t, s.admin.Create(j.ctx, kafka.TopicSpec{Name: j.input(), Partitions: partitions, Replication: s.replicas,
		Configs: map[string]string{"message.timestamp.after.max.ms": "9223372036854775807"}}))
	return j
}

func (j *job) writeSpec() {
	j.t.Helper()
	or := func(v, fallback string) string {
		if v == "" {
			return fallback
		}
		return v
	}
	text := fmt.Sprintf("app: %s\noutput: {topic: %s, emit: %s}\non_error: %s\n",
		j.app, j.output(), or(j.spec.emit, "latest"), or(j.spec.onError, "dead"))
	format, counts := "text", "split: words\ngroup: [key, item]\n"
	if j.spec.amounts {
		format = "json"
		counts = "group: [key]\naggregates: {count: count, total: {sum: amount}, top: {max: amount}}\n"
	}
	if j.spec.byItem {
		counts = "split: words\ngroup: [item]\n"
	}
	text += fmt.Sprintf("input: {topic: %s, start: %s, format: %s}\n", j.input(), or(j.spec.start, "earliest"), format) + counts
	if j.spec.lanes > 0 {
		text += fmt.Sprintf("lanes: %d\n", j.spec.lanes)
	}
	must(j.t, os.WriteFile(j.specFile, []byte(text), 0o600))
}

// machine is a place for a node of this job.
func (j *job) machine(name string, args ...string) *machine {
	m := &machine{job: j, name: name, dir: filepath.Join(j.dir, name), args: args}
	if j.s.cluster != nil {
		m.brokers = j.s.cluster.Addrs()
	}
	return m
}

// words per key: 200 keys, 400 words, and what else may come: no key, no value, letters beyond
// ASCII, bytes that are no text.
func wordEvents(r *rand.Rand) func(i int) *kgo.Record {
	syllables := []string{"ka", "Lo", "mi", "TU", "re", "ñä", "öst", "Zü", "x9", "e\u0301"}
	word := func() string {
		n := r.IntN(400)
		return syllables[n%10] + syllables[n/10%10] + syllables[n/100] + "event"
	}
	return func(i int) *kgo.Record {
		rec := &kgo.Record{Key: fmt.Appendf(nil, "user-%03d", r.IntN(200))}
		rec.Value = []byte(word() + ", " + word() + "  " + word() + "\n(" + word() + ") " + word() + "!")
		switch {
		case i%41 == 7:
			rec.Value = append(rec.Value, 0xff, 0xfe)
		case i%43 == 3:
			rec.Key = nil
		case i%47 == 5:
			rec.Value = nil
		}
		return rec
	}
}

// cleanEvents are wordEvents of which each can be read.
func cleanEvents(r *rand.Rand) func(i int) *kgo.Record {
	events := wordEvents(r)
	return func(i int) *kgo.Record {
		rec := events(i)
		rec.Value = []byte(strings.ToValidUTF8(string(rec.Value), ""))
		return rec
	}
}

// newWords makes a large state: each event has five long words that no other has.
func newWords(i int) *kgo.Record {
	var value []byte
	for k := range 5 {
		value = fmt.Appendf(value, "%d%s ", 5*i+k, strings.Repeat("long", 30))
	}
	return &kgo.Record{Key: fmt.Appendf(nil, "user-%03d", i%200), Value: value}
}

// amountEvents are JSON objects with an amount in up to four decimals, and some that are no JSON.
func amountEvents(r *rand.Rand) func(i int) *kgo.Record {
	return func(i int) *kgo.Record {
		rec := &kgo.Record{Key: fmt.Appendf(nil, "user-%02d", r.IntN(50))}
		rec.Value = fmt.Appendf(nil, `{"amount": %d.%04d}`, r.IntN(2_000_000)-1_000_000, r.IntN(10_000))
		if i%53 == 11 {
			rec.Value = rec.Value[:len(rec.Value)-1]
		}
		return rec
	}
}

// load is a producer that runs throughout a test.
type load struct {
	j    *job
	cl   *kgo.Client
	quit chan struct{}
	done chan struct{}
	sent atomic.Int64 // acknowledged
}

// produce sends so many events a second until stop. Keys are placed by murmur2, as Java does.
func (j *job) produce(perSecond int, event func(i int) *kgo.Record) *load {
	j.t.Helper()
	cl, err := j.s.kafka.Client(kgo.DefaultProduceTopic(j.input()), kgo.ProducerLinger(2*time.Millisecond))
	must(j.t, err)
	l := &load{j: j, cl: cl, quit: make(chan struct{}), done: make(chan struct{})}
	go l.run(perSecond, event)
	j.t.Cleanup(l.stop)
	return l
}

func (l *load) run(perSecond int, event func(i int) *kgo.Record) {
	defer close(l.done)
	defer l.cl.Close()
	began, i := time.Now(), 0
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		for due := int(time.Since(began).Seconds() * float64(perSecond)); i < due; i++ {
			l.send(event(i))
		}
		select {
		case <-tick.C:
		case <-l.quit:
			if err := l.cl.Flush(context.Background()); err != nil {
				l.j.t.Errorf("flush the load: %v", err)
			}
			return
		}
	}
}

func (l *load) send(rec *kgo.Record) {
	l.cl.Produce(context.Background(), rec, func(_ *kgo.Record, err error) {
		if err != nil {
			l.j.t.Errorf("the load was refused: %v", err)
			return
		}
		l.sent.Add(1)
	})
}

// stop sends what is due and waits until all of it is acknowledged.
func (l *load) stop() {
	select {
	case <-l.done:
		return
	default:
	}
	close(l.quit)
	<-l.done
}

// awaitMore waits until n further events are acknowledged.
func (l *load) awaitMore(n int64) {
	l.j.t.Helper()
	want := l.sent.Load() + n
	eventually(l.j.t, 60*time.Second, "the load goes on", func() string {
		if sent := l.sent.Load(); sent < want {
			return fmt.Sprintf("%d of %d events", sent, want)
		}
		return ""
	})
}

// send produces a given number of events and waits for them.
func (j *job) send(n int, event func(i int) *kgo.Record) {
	j.t.Helper()
	cl, err := j.s.kafka.Client(kgo.DefaultProduceTopic(j.input()))
	must(j.t, err)
	defer cl.Close()
	var recs []*kgo.Record
	for i := range n {
		recs = append(recs, event(i))
	}
	must(j.t, cl.ProduceSync(j.ctx, recs...).FirstErr())
}
