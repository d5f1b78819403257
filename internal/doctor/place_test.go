package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// place is one app's corner of a Kafka.
type place struct {
	t     *testing.T
	cfg   kafka.Config
	admin *kafka.Admin
	app   App
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func onFake(t *testing.T, opts ...kfake.Opt) *place {
	t.Helper()
	t.Parallel()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return newPlace(t, kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()})
}

// newPlace is a place with names of its own, and nothing in it yet.
func newPlace(t *testing.T, cfg kafka.Config) *place {
	t.Helper()
	admin, err := kafka.NewAdmin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	name := "app-" + cfg.Seam.NewID()
	return &place{t, cfg, admin, App{Name: name, Input: name + "-in", Output: name + "-out", KeyEvent: true, DeadLetters: true}}
}

func (p *place) create(topic string, partitions int, configs ...string) {
	p.t.Helper()
	spec := kafka.TopicSpec{Name: topic, Partitions: partitions, Replication: 1, Configs: map[string]string{}}
	for _, c := range configs {
		name, value, _ := strings.Cut(c, "=")
		spec.Configs[name] = value
	}
	if err := p.admin.Create(limit(p.t), spec); err != nil {
		p.t.Fatal(err)
	}
}

const ownLimit = "max.message.bytes=1114124" // Kafka's default and 64 KiB

// createAll makes the app's topics as they should be.
func (p *place) createAll() {
	p.create(p.app.Input, 2, "retention.ms=604800000")
	p.create(p.app.Output, 2)
	p.create(p.app.Changelog(), 2, "cleanup.policy=compact", ownLimit)
	p.create(p.app.Dead(), 2, ownLimit)
}

func (p *place) client(opts ...kgo.Opt) *kgo.Client {
	p.t.Helper()
	cl, err := p.cfg.Client(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(cl.Close)
	return cl
}

func (p *place) produce(r *kgo.Record) {
	p.t.Helper()
	if err := p.client().ProduceSync(limit(p.t), r).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// position writes a position record to the changelog.
func (p *place) position(partition int32, pos position) {
	p.t.Helper()
	value, err := json.Marshal(pos)
	if err != nil {
		p.t.Fatal(err)
	}
	p.produce(&kgo.Record{Topic: p.app.Changelog(), Partition: partition, Key: []byte{1, 'p', 0}, Value: append([]byte{1, 'p'}, value...)})
}

// open begins a transaction and leaves it open.
func (p *place) open(id, topic string, timeout time.Duration) {
	p.t.Helper()
	cl := p.client(kgo.TransactionalID(id), kgo.TransactionTimeout(timeout))
	if err := cl.BeginTransaction(); err != nil {
		p.t.Fatal(err)
	}
	if err := cl.ProduceSync(limit(p.t), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) examine(change ...func(*Options)) map[string][]Check {
	p.t.Helper()
	opt := Options{Kafka: p.cfg, Apps: []App{p.app}, DataDir: p.t.TempDir()}
	for _, c := range change {
		c(&opt)
	}
	report, err := Examine(limit(p.t), opt)
	if err != nil {
		p.t.Fatal(err)
	}
	byName := map[string][]Check{}
	for _, c := range report.Checks {
		name := strings.NewReplacer(p.app.Name, "APP").Replace(c.Name)
		byName[name] = append(byName[name], c)
	}
	return byName
}

// want compares a check's result and what it says.
func want(t *testing.T, checks map[string][]Check, name string, r Result, texts ...string) {
	t.Helper()
	list := checks[name]
	if len(list) != 1 {
		t.Errorf("%d checks %q: %+v", len(list), name, list)
		return
	}
	c := list[0]
	all := fmt.Sprintf("%s\n%s\n%s", c.Found, c.Why, c.Mend)
	if c.Result != r {
		t.Errorf("%s is %s, want %s: %s", name, c.Result, r, all)
	}
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("%s lacks %q: %s", name, text, all)
		}
	}
	if bad := r == Warning || r == Error; bad != (c.Why != "") || bad && c.Mend == "" {
		t.Errorf("%s is %s with why %q, mend %q", name, r, c.Why, c.Mend)
	}
}

// limitPoll bounds one poll of a consumer.
func limitPoll(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialExcept refuses one address.
func dialExcept(dial dialFunc, refused string) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == refused {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return dial(ctx, network, addr)
	}
}
