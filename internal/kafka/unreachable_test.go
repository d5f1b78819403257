package kafka

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/seam"
)

// TestSilentBroker: a host that swallows what is sent to it is given up in time for the next one of
// the brokers to be asked, with and without TLS in between, and is no end of the caller's time.
func TestSilentBroker(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const silent = "192.0.2.1:9092"
	var asked atomic.Int64
	s := seam.World()
	dial := s.Dial
	s.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != silent {
			return dial(ctx, network, addr)
		}
		asked.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for range 20 { // the client begins with any of them
		a, err := NewAdmin(Config{Brokers: append(c.ListenAddrs(), silent), Seam: s, DialTimeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := a.Reachable(ctx); err != nil {
			t.Errorf("with one broker that is silent: %v", err)
		}
		cancel()
		a.Close()
	}
	if asked.Load() == 0 {
		t.Fatal("the silent broker was never asked: this test shows nothing")
	}
	cfg := Config{Brokers: []string{silent}, Seam: s, DialTimeout: time.Millisecond}
	if _, err := cfg.dial(t.Context(), "tcp", silent); !Retriable(err) {
		t.Errorf("the end of a dial's own time is not retriable: %v", err)
	}
}

// TestStableEndsOfAGrownTopic: a partition that comes while an open transaction is waited for does
// not stand for one that is waited for still.
func TestStableEndsOfAGrownTopic(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	a, err := NewAdmin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	cl, err := cfg.Client(kgo.TransactionalID("open"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(limit(t), &kgo.Record{Topic: "t", Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	var once sync.Once
	c.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if req.(*kmsg.ListOffsetsRequest).IsolationLevel == 1 { // the question of how far it went is answered
			once.Do(func() { close(asked) })
		}
		return nil, nil, false
	})
	grown := make(chan error, 1)
	go func() { <-asked; grown <- a.AddPartitions(context.Background(), "t", 3) }()
	ends, open, err := a.StableEnds(limit(t), "t", time.Second)
	if err != nil || len(open) != 1 || open[0] != 1 || len(ends) != 1 {
		t.Errorf("ends %v, open %v, %v", ends, open, err)
	}
	if err := <-grown; err != nil {
		t.Fatal(err)
	}
}
