package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/seam"
)

// undecides fails unless the report has no difference, and says that it cannot decide this.
func (p *place) undecides(r *Report, parts ...string) {
	p.t.Helper()
	if r.Verdict != Undecided || r.Found > 0 {
		p.t.Errorf("the verdict is %s:\n%s", r.Verdict, p.dump(r))
	}
	for _, part := range parts {
		if !strings.Contains(strings.Join(r.Undecided, "\n"), part) {
			p.t.Errorf("it does not say %q, but %q", part, r.Undecided)
		}
	}
}

// truncate deletes the records of a partition below an offset.
func (p *place) truncate(topic string, partition int32, below int64) {
	p.t.Helper()
	os := kadm.Offsets{}
	os.AddOffset(topic, partition, below, -1)
	answers, err := p.adm.DeleteRecords(p.ctx(), os)
	p.must(err)
	p.must(answers.Error())
}

// What cannot be compared is said, and no guess is made of it; what can be is compared.
func TestUndecided(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(p *place)
		says []string
	}{
		{"truncated input", func(p *place) { p.truncate(p.in, 0, 1) },
			[]string{"$IN/0 is deleted below offset 1, and the app counted from offset 0 on"}},
		{"input made again", func(p *place) { p.rewrite(p.in, func(all []*kgo.Record) []*kgo.Record { return all }) },
			[]string{"deleted and made again", "the app counted the one with id"}},
		{"compacted input", func(p *place) {
			p.thin(func(all []*kgo.Record) []*kgo.Record { return all[1:] })
			p.abort(0)
			p.compact(p.in)
		}, []string{"is compacted: 1 events are left of the 2"}},
		{"an input of an older copy", func(p *place) { p.thin(func(all []*kgo.Record) []*kgo.Record { return all[1:] }) },
			[]string{"$IN/0 ends at offset 1, and the app counted up to offset 2"}},
		{"compacted output", func(p *place) { p.compact(p.out) }, []string{"the output $OUT is compacted"}},
		{"deleted output", func(p *place) { p.truncate(p.out, 0, 2) },
			[]string{"$OUT/0 below offset 2 is deleted", "1 counters have no output any more"}},
		{"no output topic", func(p *place) { p.must(p.admin.DeleteTopics(p.ctx(), p.out)) }, []string{"the output topic $OUT does not exist"}},
		{"deleted dead letters", func(p *place) {
			p.send(p.app+".dead", &kgo.Record{Partition: 0, Value: []byte("x")})
			p.truncate(p.app+".dead", 0, 1)
		}, []string{"$APP.dead/0 below offset 1 are deleted"}},
		{"deleted dead letters of its own", func(p *place) { p.truncate(p.app+".dead", 1, 1) }, []string{"$APP.dead/1 below offset 1 are deleted"}},
		{"another app's node", func(p *place) { p.node.AppID = "other" }, []string{"the node runs an app $APP with id other"}},
		{"a node of an earlier generation", func(p *place) { p.node.Generation = 0 }, []string{"generation 0; the changelog"}},
		{"a node without a partition", func(p *place) {
			scan := p.node.Scan
			p.node.Scan = func(ctx context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
				at, err := scan(ctx, fn)
				delete(at, 1)
				return at, err
			}
		}, []string{"without partition 1"}},
		{"a node that fails", func(p *place) {
			p.node.Scan = func(context.Context, func(group, values json.RawMessage) error) (map[int32]int64, error) {
				return nil, errors.New("lane 1 is restoring")
			}
		}, []string{"lane 1 is restoring"}},
		{"a node that says no group", func(p *place) {
			p.node.Scan = func(_ context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
				return nil, fn([]byte(`["a"]`), []byte(`{"count":1}`))
			}
		}, []string{`a group that is none: ["a"]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onFake(t)
			p.small()
			c.do(p)
			for i := range c.says {
				c.says[i] = strings.NewReplacer("$IN", p.in, "$OUT", p.out, "$APP", p.app).Replace(c.says[i])
			}
			p.undecides(p.audit(), c.says...)
		})
	}
}

func (p *place) compact(topic string) {
	p.t.Helper()
	policy := "compact"
	_, err := p.adm.AlterTopicConfigs(p.ctx(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, topic)
	p.must(err)
}

// thin makes the input anew with a change, and lets the position records and the consumer group
// know the topic that has come of it.
func (p *place) thin(change func([]*kgo.Record) []*kgo.Record) {
	p.t.Helper()
	before, _, err := p.admin.Topic(p.ctx(), p.in)
	p.must(err)
	p.rewrite(p.in, change)
	after, _, err := p.admin.Topic(p.ctx(), p.in)
	p.must(err)
	p.replaced(p.app+".changelog", before.ID, after.ID)
	p.commit(0, 2)
	p.commit(1, 2)
}

// abort writes an aborted transaction to the input: offsets without an event.
func (p *place) abort(partition int32) {
	p.t.Helper()
	cl, err := p.cfg.Client(kgo.TransactionalID(p.app+"-aborted"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	p.must(err)
	defer cl.Close()
	p.must(cl.BeginTransaction())
	p.must(cl.ProduceSync(p.ctx(), &kgo.Record{Topic: p.in, Partition: partition, Value: []byte("x")}).FirstErr())
	p.must(cl.EndTransaction(p.ctx(), kgo.TryAbort))
}

// A difference is said although something else cannot be decided.
func TestDifferenceBesideUndecided(t *testing.T) {
	p := onFake(t)
	p.small()
	p.truncate(p.in, 0, 1)
	at := p.like(p.out, `"three"`, value(`{"item":"three","count":7}`))
	r := p.audit()
	p.finds(r, OutputWrong, p.out, 1, at, `["bob","three"]`)
	if len(r.Undecided) != 1 || r.Found != 1 {
		t.Error(p.dump(r))
	}
}

// What makes no audit at all is an error that says what to do.
func TestRefusals(t *testing.T) {
	p := onFake(t)
	run := func(options ...func(*Config)) error {
		cfg := Config{Spec: p.sp, Kafka: p.cfg, Seam: seam.World(), TempDir: p.t.TempDir(), CutWait: 50 * time.Millisecond, OffsetsWait: time.Millisecond}
		for _, o := range options {
			o(&cfg)
		}
		_, err := Run(p.ctx(), cfg)
		return err
	}
	says := func(err error, part string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("it does not say %q: %v", part, err)
		}
	}
	says(run(), "there is no topic "+p.in)
	p.topic(p.in, 1)
	says(run(), "has counted nothing on this Kafka")
	p.topic(p.app+".changelog", 1, "cleanup.policy", "compact")
	says(run(), "has counted nothing yet")
	p.must(p.admin.DeleteTopics(p.ctx(), p.app+".changelog"))

	p.counted(event(0, "a", "x"))
	right := p.sp
	p.use(strings.Replace(words, "words", "lines", 1))
	err := run()
	says(err, "split: it was words, this spec has lines")
	var code interface{ ExitCode() int }
	if !errors.As(err, &code) || code.ExitCode() != 2 {
		t.Errorf("another spec is not the user's error: %v", err)
	}
	p.sp = right
	if err := run(); err != nil {
		t.Error(err)
	}

	says(run(func(c *Config) { c.TempDir = "/dev/null/none" }), "a directory for the audit's sorted runs")
	cl, err := p.cfg.Client(kgo.TransactionalID(p.app+"-hung"), kgo.DefaultProduceTopic(p.out))
	p.must(err)
	defer cl.Close()
	p.must(cl.BeginTransaction())
	p.must(cl.ProduceSync(p.ctx(), &kgo.Record{Value: []byte("x")}).FirstErr())
	says(run(), fmt.Sprintf("a transaction is open in %s, partitions [0], and did not end within 50ms", p.out))
}

// More positions than a cut may have are refused, and a hole in them cannot be decided.
func TestPositionsOfTheCut(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	n := p.start()
	for i := range 5 {
		p.send(p.in, event(0, "a", "x"))
		n.settled(int64(i + 1))
	}
	n.stop()
	p.node = nil
	first := p.newestFirst()
	read := func(max int) (*audit, *task, error) {
		a := &audit{cfg: Config{PositionsMax: max, Seam: seam.World()}.withDefaults(), spec: p.sp, admin: p.admin, records: map[string]int64{}, compared: map[string]int64{}, dir: t.TempDir()}
		a.meter = newMeter(a.cfg)
		a.program, a.appID, a.generation = compiled(p.sp), first.AppID, 1
		var err error
		a.changelog, _, err = p.admin.Topic(p.ctx(), p.app+".changelog")
		p.must(err)
		ends, err := p.admin.EndOffsets(p.ctx(), a.changelog.Name, true)
		p.must(err)
		tk := &task{store: -1, changelogEnd: ends[0], positions: []position{first}}
		a.tasks = []*task{tk}
		return a, tk, a.readChangelog(p.ctx())
	}
	_, tk, err := read(10)
	if p.must(err); len(tk.positions) != 6 || len(tk.cuts) != 6 || tk.cuts[5] != 5 {
		t.Errorf("%d positions, cuts %v", len(tk.positions), tk.cuts)
	}
	if _, _, err = read(3); err == nil || !strings.Contains(err.Error(), "more than 3 position records") {
		t.Errorf("too many positions: %v", err)
	}
	p.without(p.app+".changelog", `"txn":3,`)
	a, _, err := read(10)
	if p.must(err); len(a.undecided) != 1 || !strings.Contains(a.undecided[0], "transactions 3 to 3 are missing") {
		t.Errorf("%q", a.undecided)
	}
}

// newestFirst is the first position record, as if it had been the newest when the cut was made.
func (p *place) newestFirst() position {
	p.t.Helper()
	for _, r := range p.read(p.app + ".changelog") {
		if r.Key[1] == kindPosition {
			rec, err := parsePosition(r.Value, r.Key[2], r.Partition)
			p.must(err)
			return position{rec, r.Offset}
		}
	}
	p.t.Fatal("no position record")
	return position{}
}

// Which events were skipped for their size is written nowhere: where the topics took larger records
// once, nobody can tell.
func TestLimitsLoweredBehindSkippedEvents(t *testing.T) {
	p := onFake(t)
	p.use("app: $APP\ninput: {topic: $IN}\ngroup: [key]\noutput: {topic: $OUT}\non_error: skip\n")
	p.topic(p.in, 1)
	p.topic(p.out, 1, "max.message.bytes", "20000")
	n := p.start()
	p.send(p.in, event(0, "a", "x"), event(0, strings.Repeat("m", 1000), "x"), event(0, strings.Repeat("k", 8000), "x"))
	n.settled(3)
	p.exact(p.audit(), 3)
	limit := "5000"
	_, err := p.adm.AlterTopicConfigs(p.ctx(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, p.out)
	p.must(err)
	p.undecides(p.audit(), "of 2 events of the input "+p.in+"/0", "not all were skipped", "the limits were others before")
}
