package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/processor/spec"
)

// patience is how long a test waits for what must happen; it decides only how long a failure takes.
const patience = time.Minute

// wordcount is the spec that most tests run. $APP, $IN and $OUT are the test's own names.
const wordcount = `
app: $APP
input: {topic: $IN}
split: words
group: [key, item]
output: {topic: $OUT}
`

// place is one test's corner of a Kafka: its own names, and clients to fill and read topics.
type place struct {
	t       testing.TB
	addrs   []string
	fake    *kfake.Cluster // nil: a real Kafka
	app     string
	in, out string
	cl      *kgo.Client
	adm     *kadm.Client
	admin   *kafka.Admin
}

// onFake runs a test against a Kafka of its own in memory, beside other tests.
func onFake(t *testing.T, opts ...kfake.Opt) *place {
	t.Helper()
	t.Parallel()
	opts = append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p := newPlace(t, c.ListenAddrs())
	p.fake = c
	return p
}

// onBoth runs a test against kfake and against a real Kafka: where transactions, fencing or offsets
// matter, kfake passing proves nothing.
func onBoth(t *testing.T, test func(t *testing.T, p *place)) {
	t.Parallel()
	t.Run("kfake", func(t *testing.T) { test(t, onFake(t)) })
	t.Run("kafka", func(t *testing.T) {
		if testing.Short() {
			t.Skip("left out, it needs a real Kafka: -short")
		}
		t.Parallel()
		test(t, newPlace(t, testkafka.Shared(t).Addrs()))
	})
}

// keptByShort leaves a case out under -short unless it is to stay: that is for -race, under which a
// band of nodes takes its seconds for each. `make test` runs all cases, and `make proof` all with
// -race.
func keptByShort(t *testing.T, stays bool) {
	t.Helper()
	if testing.Short() && !stays {
		t.Skip("left out, others of its kind are run: -short")
	}
}

func newPlace(t testing.TB, addrs []string) *place {
	t.Helper()
	name := strings.ToLower(regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(t.Name(), "-"))
	name = strings.TrimPrefix(name, "test")
	app := fmt.Sprintf("%s-%06x", name, rand.IntN(1<<24))
	p := &place{t: t, addrs: addrs, app: app, in: app + ".in", out: app + ".out"}
	p.connect()
	return p
}

func (p *place) connect() {
	p.t.Helper()
	cfg := kafka.Config{Brokers: p.addrs, Seam: seam.World()}
	var err error
	if p.cl, err = cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.cl.Close)
	p.adm = kadm.NewClient(p.cl)
	if p.admin, err = kafka.NewAdmin(cfg); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.admin.Close)
}

func (p *place) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// must ends the test on an error.
func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
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

// setTopic changes one config of a topic.
func (p *place) setTopic(name, key, value string) {
	p.t.Helper()
	answers, err := p.adm.AlterTopicConfigs(p.ctx(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, name)
	p.must(err)
	for _, a := range answers {
		p.must(a.Err)
	}
}

// spec fills the test's names into a spec and parses it.
func (p *place) spec(text string) *spec.Spec {
	p.t.Helper()
	text = strings.NewReplacer("$APP", p.app, "$IN", p.in, "$OUT", p.out).Replace(text)
	s, err := spec.Parse([]byte(text), "test.yaml")
	p.must(err)
	return s
}

// event is a record of the input.
func event(partition int32, key, value string) *kgo.Record {
	return &kgo.Record{Partition: partition, Key: []byte(key), Value: []byte(value)}
}

// placed puts a key where kafka-python and Java would, in a topic of n partitions.
func placed(n int, key, value string) *kgo.Record {
	return event(kafka.PartitionMurmur2([]byte(key), n), key, value)
}

func (p *place) send(events ...*kgo.Record) {
	p.t.Helper()
	for _, e := range events {
		e.Topic = p.in
	}
	p.must(p.cl.ProduceSync(p.ctx(), events...).FirstErr())
}

// read returns all committed records of a topic, partition by partition.
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

// tally is one running node.
type tally struct {
	p      *place
	t      testing.TB
	dir    string
	url    string
	client *api.Client
	log    *lines
	out    *lines
	cancel context.CancelFunc
	ended  chan error
}

type option func(*Config)

func inDir(dir string) option       { return func(c *Config) { c.DataDir = dir } }
func named(name string) option      { return func(c *Config) { c.Name = name } }
func running(s *spec.Spec) option   { return func(c *Config) { c.Specs = []*spec.Spec{s} } }
func takeover() option              { return func(c *Config) { c.Takeover = true } }
func listening(addr string) option  { return func(c *Config) { c.Listen = addr } }
func paced(p processor.Pace) option { return func(c *Config) { c.Pace = p } }

// config is that of a node with short intervals, in a data dir of its own.
func (p *place) config(opts ...option) Config {
	p.t.Helper()
	cfg := Config{
		Specs:   nil,
		Brokers: p.addrs, Listen: testkafka.FreeAddr(p.t), Name: "node-a", Memory: 32 << 20,
		CommitsPerSecond: 500, Pace: processor.Pace{Interval: 5 * time.Millisecond, IntervalMax: 20 * time.Millisecond},
		Watch: time.Second, WatchAge: 3 * time.Second, OffsetsWait: 200 * time.Millisecond,
		LagInterval: 20 * time.Millisecond, TrimInterval: 50 * time.Millisecond, RetryMax: 100 * time.Millisecond, UnreachableAt: 500 * time.Millisecond,
		Version: "test", Seam: seam.World(),
	}
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.DataDir == "" {
		cfg.DataDir = p.t.TempDir()
	}
	if cfg.Specs == nil {
		cfg.Specs = []*spec.Spec{p.spec(wordcount)}
	}
	return cfg
}

// launch starts a node and waits for nothing.
func (p *place) launch(opts ...option) *tally {
	p.t.Helper()
	cfg := p.config(opts...)
	n := &tally{p: p, t: p.t, dir: cfg.DataDir, url: "http://" + cfg.Listen, log: &lines{}, out: &lines{}, ended: make(chan error, 1)}
	cfg.Log = slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: logLevel()}))
	cfg.Out = n.out
	var err error
	if n.client, err = api.NewClient(n.url, seam.World()); err != nil {
		p.t.Fatal(err)
	}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	go func() { n.ended <- Run(ctx, cfg) }()
	p.t.Cleanup(func() {
		n.cancel()
		err := <-n.ended
		if p.t.Failed() || os.Getenv("NODELOG") != "" {
			p.t.Logf("the end of %s: %v", cfg.Name, err)
			p.t.Logf("log of %s, its end:\n%s", cfg.Name, n.log.tail(tailLines()))
		}
	})
	return n
}

// start starts a node and waits until all its lanes run.
func (p *place) start(opts ...option) *tally {
	p.t.Helper()
	n := p.launch(opts...)
	n.ready()
	return n
}

// refused starts a node that must end with an error, and returns it.
func (p *place) refused(opts ...option) error {
	p.t.Helper()
	n := p.launch(opts...)
	err := n.end()
	if err == nil {
		p.t.Fatal("the node ended without an error")
	}
	return err
}

// end waits until the node has ended by itself.
func (n *tally) end() error {
	n.t.Helper()
	select {
	case err := <-n.ended:
		n.ended <- err
		return err
	case <-time.After(patience):
		n.t.Fatal("the node has not ended")
		return nil
	}
}

// stop is a SIGTERM; it must end well and within five seconds, or three times as long with -race.
func (n *tally) stop() {
	n.t.Helper()
	began := time.Now()
	n.cancel()
	if err := n.end(); err != nil {
		n.t.Fatalf("the node's stop: %v", err)
	}
	if took := time.Since(began); took > slow*5*time.Second {
		n.t.Fatalf("the stop took %v", took)
	}
}

// until polls until ok is nil, and fails with its last error.
func until(t testing.TB, ok func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("it did not come: %v", err)
}

func (n *tally) ready() {
	n.t.Helper()
	n.until("every lane runs", func(st api.Status) bool {
		if len(st.Apps) == 0 {
			return false
		}
		for _, a := range st.Apps {
			for _, l := range a.Lanes {
				if l.State != api.LaneRunning {
					return false
				}
			}
		}
		return true
	})
}

// until polls the status until ok, and returns it. A node that ends meanwhile fails the test.
func (n *tally) until(what string, ok func(api.Status) bool) api.Status {
	n.t.Helper()
	var st api.Status
	until(n.t, func() error {
		select {
		case err := <-n.ended:
			n.ended <- err
			n.t.Fatalf("waiting until %s: the node has ended: %v", what, err)
		default:
		}
		var err error
		if st, err = n.client.Status(n.p.ctx()); err != nil {
			return err
		}
		if !ok(st) {
			text, _ := json.Marshal(st)
			return fmt.Errorf("until %s; status: %s", what, text)
		}
		return nil
	})
	return st
}

// settled waits until the app has dealt with that many events and nothing is left.
func (n *tally) settled(events int64) api.AppStatus {
	n.t.Helper()
	st := n.until(fmt.Sprintf("%d events are dealt with", events), func(st api.Status) bool {
		if len(st.Apps) != 1 {
			return false
		}
		a := st.Apps[0]
		total := a.Processed + a.Filtered + a.Skipped + a.Dead
		if total > events {
			n.t.Fatalf("%d events are dealt with, %d were sent", total, events)
		}
		return total == events && a.Lag == 0 && a.RepartitionLag == 0
	})
	return st.Apps[0]
}

// lane waits until a lane is in a state, and returns its status.
func (n *tally) lane(k int, state string) api.LaneStatus {
	n.t.Helper()
	st := n.until(fmt.Sprintf("lane %d is %s", k, state), func(st api.Status) bool {
		return len(st.Apps) == 1 && st.Apps[0].Lanes[k].State == state
	})
	return st.Apps[0].Lanes[k]
}

// counts are all values of all groups.
func (n *tally) counts() map[string]string {
	n.t.Helper()
	counts := map[string]string{}
	_, err := n.client.Scan(n.p.ctx(), n.p.app, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error {
		counts[string(c.Group)] = string(c.Values)
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return counts
}

func (n *tally) has(want map[string]string) {
	n.t.Helper()
	if got := n.counts(); !maps.Equal(got, want) {
		n.t.Fatalf("counts\n got %v\nwant %v", got, want)
	}
}

// restored sums what a start read of the changelog.
func restored(a api.AppStatus) (records int64) {
	for _, l := range a.Lanes {
		records += l.Restore.Records
	}
	return records
}

// count is the recount: words of events by key, in the shape of tally.counts.
func count(events []*kgo.Record) map[string]string {
	n := map[[2]string]int{}
	for _, e := range events {
		for _, w := range strings.Fields(strings.ToLower(string(e.Value))) {
			n[[2]string{string(e.Key), w}]++
		}
	}
	counts := map[string]string{}
	for g, c := range n {
		counts[fmt.Sprintf("[%q,%q]", g[0], g[1])] = fmt.Sprintf(`{"count":%d}`, c)
	}
	return counts
}

// lastOutputs are the last values that the output says of each group of a wordcount; every group's
// counts must rise strictly.
func (p *place) lastOutputs() map[string]string {
	p.t.Helper()
	last, before := map[string]string{}, map[string]int{}
	for _, r := range p.read(p.out) {
		var v struct {
			Item  string `json:"item"`
			Count int    `json:"count"`
		}
		p.must(json.Unmarshal(r.Value, &v))
		group := fmt.Sprintf("[%q,%q]", r.Key, v.Item)
		if at := fmt.Sprintf("%s in %d", group, r.Partition); v.Count <= before[at] {
			p.t.Fatalf("the output of %s does not rise: %d after %d", at, v.Count, before[at])
		} else {
			before[at] = v.Count
		}
		last[group] = fmt.Sprintf(`{"count":%d}`, v.Count)
	}
	return last
}

// right compares the node's counts and the output with a recount of the events.
func (n *tally) right(events []*kgo.Record) {
	n.t.Helper()
	n.settled(int64(len(events)))
	want := count(events)
	n.has(want)
	// EndTxn is answered before its markers are written: readers see the records a little later.
	until(n.t, func() error {
		if got := n.p.lastOutputs(); !maps.Equal(got, want) {
			return fmt.Errorf("the output's last values\n got %v\nwant %v", got, want)
		}
		return nil
	})
}

// sentences are events of a few keys, each where its key belongs.
func sentences(partitions, n int) []*kgo.Record {
	words := []string{"spark", "kafka", "raft", "pebble", "exactly", "once"}
	var events []*kgo.Record
	for i := range n {
		value := words[i%6] + " " + words[i*7%5] + " " + words[i%6]
		events = append(events, placed(partitions, fmt.Sprintf("user-%d", i%17), value))
	}
	return events
}

// says fails unless err is there and its text has all of the parts.
func says(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	saysText(t, err.Error(), parts...)
}

func saysText(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q:\n%s", part, text)
		}
	}
}

// lines is a buffer that many may write to and read.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) tail(n int) string {
	all := strings.SplitAfter(l.String(), "\n")
	return strings.Join(all[max(len(all)-n, 0):], "")
}

// count is the number of lines that have all parts.
func (l *lines) count(parts ...string) (n int) {
	for line := range strings.Lines(l.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			n++
		}
	}
	return n
}

// wipe removes a node's state, as the README allows.
func (n *tally) wipe() {
	n.t.Helper()
	if err := os.RemoveAll(filepath.Join(n.dir, "state")); err != nil {
		n.t.Fatal(err)
	}
}

// exitCode is that of the process that would end with err.
func exitCode(err error) int {
	var code interface{ ExitCode() int }
	if errors.As(err, &code) {
		return code.ExitCode()
	}
	return 1
}

func logLevel() slog.Level {
	if os.Getenv("NODELOG") == "debug" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func tailLines() int {
	if os.Getenv("NODELOG") != "" {
		return 100000
	}
	return 30
}
