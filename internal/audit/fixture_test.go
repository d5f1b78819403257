package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// patience is how long a test waits for what must happen; it decides only how long a failure takes.
const patience = 2 * time.Minute

const words = `
app: $APP
input: {topic: $IN}
split: words
group: [key, item]
output: {topic: $OUT}
`

// place is one test's corner of a Kafka: its own names, and clients to fill, read and spoil topics.
type place struct {
	t            testing.TB
	cfg          kafka.Config
	app, in, out string
	cl           *kgo.Client
	adm          *kadm.Client
	admin        *kafka.Admin
	sp           *spec.Spec
	node         *Node         // of the last start
	trim         time.Duration // of the repartition topic; 0: as the node does
}

// onFake is a Kafka of its own in memory, beside other tests.
func onFake(t *testing.T) *place {
	t.Helper()
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return newPlace(t, c.ListenAddrs())
}

// onBoth runs a test against kfake and against a real Kafka.
func onBoth(t *testing.T, test func(p *place)) {
	t.Parallel()
	t.Run("kfake", func(t *testing.T) { test(onFake(t)) })
	t.Run("kafka", func(t *testing.T) {
		if testing.Short() {
			t.Skip("left out, it needs a real Kafka: -short")
		}
		t.Parallel()
		test(newPlace(t, testkafka.Shared(t).Addrs()))
	})
}

func newPlace(t testing.TB, addrs []string) *place {
	t.Helper()
	name := strings.ToLower(regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(t.Name(), "-"))
	app := fmt.Sprintf("%s-%06x", strings.TrimPrefix(name, "test"), rand.IntN(1<<24))
	p := &place{t: t, app: app, in: app + ".in", out: app + ".out", cfg: kafka.Config{Brokers: addrs, Seam: seam.World()}}
	var err error
	p.cl, err = p.cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	p.must(err)
	t.Cleanup(p.cl.Close)
	p.adm = kadm.NewClient(p.cl)
	p.admin, err = kafka.NewAdmin(p.cfg)
	p.must(err)
	t.Cleanup(p.admin.Close)
	p.use(words)
	return p
}

func (p *place) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// use takes a spec; $APP, $IN and $OUT are the test's own names.
func (p *place) use(text string) {
	p.t.Helper()
	text = strings.NewReplacer("$APP", p.app, "$IN", p.in, "$OUT", p.out).Replace(text)
	var err error
	p.sp, err = spec.Parse([]byte(text), "test.yaml")
	p.must(err)
}

// topic makes a topic; configs are name, value pairs.
func (p *place) topic(name string, partitions int, configs ...string) {
	p.t.Helper()
	c := map[string]string{}
	for i := 0; i+1 < len(configs); i += 2 {
		c[configs[i]] = configs[i+1]
	}
	p.must(p.admin.Create(p.ctx(), kafka.TopicSpec{Name: name, Partitions: partitions, Replication: 1, Configs: c}))
}

func event(partition int32, key, value string) *kgo.Record {
	return &kgo.Record{Partition: partition, Key: []byte(key), Value: []byte(value)}
}

// send writes records to a topic.
func (p *place) send(topic string, records ...*kgo.Record) {
	p.t.Helper()
	for _, r := range records {
		r.Topic = topic
	}
	p.must(p.cl.ProduceSync(p.ctx(), records...).FirstErr())
}

// sentences are events of a few keys, each where its key belongs.
func sentences(partitions, n int) []*kgo.Record {
	words := []string{"spark", "kafka", "raft", "pebble", "exactly", "once"}
	var events []*kgo.Record
	for i := range n {
		key := fmt.Sprintf("user-%d", i%17)
		value := words[i%6] + " " + words[i*7%5] + " " + words[i%6]
		events = append(events, event(kafka.PartitionMurmur2([]byte(key), partitions), key, value))
	}
	return events
}

// read gives all committed records of a topic, partition by partition.
func (p *place) read(topic string) []*kgo.Record {
	p.t.Helper()
	ends, err := p.admin.EndOffsets(p.ctx(), topic, true)
	p.must(err)
	starts, err := p.admin.StartOffsets(p.ctx(), topic)
	p.must(err)
	var recs []*kgo.Record
	for part := range int32(len(ends)) {
		p.must(p.admin.Read(p.ctx(), topic, part, starts[part], ends[part], func(r *kgo.Record) error {
			recs = append(recs, r)
			return nil
		}))
	}
	return recs
}

// rewrite makes a topic anew out of what change leaves of its records. It keeps its configs.
func (p *place) rewrite(topic string, change func([]*kgo.Record) []*kgo.Record) {
	p.t.Helper()
	before, _, err := p.admin.Topic(p.ctx(), topic)
	p.must(err)
	records := p.read(topic)
	p.must(p.admin.DeleteTopics(p.ctx(), topic))
	p.topic(topic, before.Partitions, "cleanup.policy", before.Configs["cleanup.policy"])
	after, _, err := p.admin.Topic(p.ctx(), topic)
	p.must(err)
	var fresh []*kgo.Record
	for _, r := range change(records) {
		// What names the topic by its id names the new one.
		value := bytes.ReplaceAll(r.Value, []byte(before.ID), []byte(after.ID))
		if r.Value == nil {
			value = nil
		}
		fresh = append(fresh, &kgo.Record{Partition: r.Partition, Key: r.Key, Value: value, Headers: r.Headers, Timestamp: r.Timestamp})
	}
	p.cl.PurgeTopicsFromClient(topic)
	p.send(topic, fresh...)
}

// running is a node that runs in this process.
type running struct {
	p      *place
	client *api.Client
	cancel context.CancelFunc
	ended  chan error
	dir    string
}

// start runs a node, in a data dir if one is given, and waits until it answers.
func (p *place) start(dir ...string) *running {
	p.t.Helper()
	n := &running{p: p, ended: make(chan error, 1), dir: append(dir, p.t.TempDir())[0]}
	addr := testkafka.FreeAddr(p.t)
	var log bytes.Buffer
	cfg := node.Config{
		Specs: []*spec.Spec{p.sp}, Brokers: p.cfg.Brokers, Listen: addr, Name: "node-a", DataDir: n.dir, Memory: 32 << 20,
		CommitsPerSecond: 500, Watch: time.Second, WatchAge: 3 * time.Second, OffsetsWait: 200 * time.Millisecond,
		LagInterval: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond, Version: "test", Seam: seam.World(),
		TrimInterval: p.trim, Takeover: true, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	var err error
	n.client, err = api.NewClient("http://"+addr, seam.World())
	p.must(err)
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	go func() { n.ended <- node.Run(ctx, cfg) }()
	p.t.Cleanup(func() {
		n.stop()
		if p.t.Failed() && os.Getenv("NODELOG") != "" {
			p.t.Logf("the node's log:\n%s", log.String())
		}
	})
	n.until("every lane runs", func(a api.AppStatus) bool {
		for _, l := range a.Lanes {
			if l.State != api.LaneRunning {
				return false
			}
		}
		return len(a.Lanes) > 0
	})
	p.node = n.asked()
	return n
}

// asked is the node as the audit sees it.
func (n *running) asked() *Node {
	info, err := n.client.App(n.p.ctx(), n.p.app)
	n.p.must(err)
	return &Node{AppID: info.AppID, Generation: info.Generation, Scan: n.scan}
}

func (n *running) scan(ctx context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
	end, err := n.client.Scan(ctx, n.p.app, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error { return fn(c.Group, c.Values) })
	at := map[int32]int64{}
	for _, part := range end.Parts {
		for _, offset := range part.Position { // of its one source
			at[part.Partition] = offset
		}
	}
	return at, err
}

// until polls the app's status until ok.
func (n *running) until(what string, ok func(api.AppStatus) bool) {
	n.p.t.Helper()
	var last error
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		select {
		case err := <-n.ended:
			n.ended <- err
			n.p.t.Fatalf("waiting until %s: the node has ended: %v", what, err)
		default:
		}
		st, err := n.client.Status(n.p.ctx())
		if last = err; err == nil && len(st.Apps) == 1 && ok(st.Apps[0]) {
			return
		}
	}
	n.p.t.Fatalf("it did not come: %s (%v)", what, last)
}

// settled waits until the app has dealt with that many events.
func (n *running) settled(events int64) {
	n.p.t.Helper()
	n.until(fmt.Sprintf("%d events are dealt with", events), func(a api.AppStatus) bool {
		return a.Processed+a.Filtered+a.Skipped+a.Dead == events && a.Lag == 0 && a.RepartitionLag == 0
	})
}

func (n *running) stop() {
	n.cancel()
	err := <-n.ended
	n.ended <- nil
	if err != nil && !errors.Is(err, context.Canceled) {
		n.p.t.Errorf("the node ended: %v", err)
	}
}

// counted lets a node count events, stops it, and returns the data dir.
func (p *place) counted(events ...*kgo.Record) string {
	p.t.Helper()
	n := p.start()
	p.send(p.in, events...)
	n.settled(int64(len(events)))
	n.stop()
	p.node = nil
	return n.dir
}

// audit runs an audit.
func (p *place) audit(options ...func(*Config)) *Report {
	p.t.Helper()
	cfg := Config{Spec: p.sp, Kafka: p.cfg, Node: p.node, Seam: seam.World(), TempDir: p.t.TempDir(), OffsetsWait: 200 * time.Millisecond,
		StageWait: 200 * time.Millisecond}
	for _, o := range options {
		o(&cfg)
	}
	r, err := Run(p.ctx(), cfg)
	p.must(err)
	if left, err := os.ReadDir(cfg.TempDir); err != nil || len(left) > 0 {
		p.t.Errorf("the audit leaves %v behind (%v)", left, err)
	}
	return r
}

// exact fails unless the audit finds all exact, in so many events.
func (p *place) exact(r *Report, events int64) {
	p.t.Helper()
	if r.Verdict != Exact || r.Events != events || r.Found != 0 || len(r.Undecided) > 0 {
		p.t.Fatalf("%d events are not exact, in %d events:\n%s", events, r.Events, p.dump(r))
	}
}

// finds fails unless the report has a difference of a kind at a place whose line has all parts.
func (p *place) finds(r *Report, kind Kind, topic string, partition int32, offset int64, parts ...string) {
	p.t.Helper()
	if r.Verdict != Differences {
		p.t.Errorf("the verdict is %s", r.Verdict)
	}
	for _, d := range r.Differences {
		if d.Kind != kind || d.Topic != topic || d.Partition != partition || d.Offset != offset {
			continue
		}
		for _, part := range parts {
			if !strings.Contains(d.String(), part) {
				p.t.Errorf("it does not say %q: %s", part, d)
			}
		}
		return
	}
	p.t.Errorf("no %s at %s/%d offset %d:\n%s", kind, topic, partition, offset, p.dump(r))
}

func (p *place) dump(r *Report) string {
	text, err := json.MarshalIndent(r, "", " ")
	p.must(err)
	return string(text)
}
