package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/state"
)

// fakeAt runs a kfake at a fixed address with its data in dir, until the test or the caller ends
// it.
func fakeAt(t *testing.T, addr, dir string) *kfake.Cluster {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(n), kfake.DataDir(dir), kfake.ClusterID("kfake-on-disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A broker that is not there yet is waited for, and that is said again and again.
func TestUnreachableAtStart(t *testing.T) {
	t.Parallel()
	addr, dir := testkafka.FreeAddr(t), t.TempDir()
	p := newPlace(t, []string{addr})
	fake := fakeAt(t, addr, dir)
	p.topic(p.in, 2)
	fake.Close()
	n := p.launch()
	until(t, func() error {
		if c := n.log.count("level=WARN", "Kafka does not answer", addr, "no Kafka listens there"); c < 3 {
			return fmt.Errorf("it was said %d times", c)
		}
		return nil
	})
	select {
	case err := <-n.ended:
		t.Fatalf("the node has ended: %v", err)
	default:
	}
	resp, err := http.Get(n.url + "/readyz")
	p.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %s", resp.Status)
	}
	if st, err := n.client.Status(p.ctx()); err != nil || !strings.Contains(st.Kafka.Error, "refused") {
		t.Errorf("status: %+v, %v", st.Kafka, err)
	}

	fakeAt(t, addr, dir)
	events := sentences(2, 30)
	p.send(events...)
	n.ready()
	n.right(events)
	if n.log.count("Kafka answers again") == 0 {
		t.Error("it does not say that Kafka answers again")
	}
}

// A node that waits for its broker stops at once.
func TestStopWhileUnreachable(t *testing.T) {
	t.Parallel()
	p := newPlace(t, []string{testkafka.FreeAddr(t)})
	n := p.launch()
	until(t, func() error {
		if n.log.count("Kafka does not answer") == 0 {
			return errors.New("it does not say that Kafka does not answer")
		}
		return nil
	})
	began := time.Now()
	n.stop()
	if took := time.Since(began); took > slow*2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// The broker goes away in mid-run and comes back: the node says so, keeps answering as one that
// cannot know, and goes on by itself.
func TestBrokerGoesAway(t *testing.T) {
	t.Parallel()
	addr, dir := testkafka.FreeAddr(t), t.TempDir()
	fake := fakeAt(t, addr, dir)
	p := newPlace(t, []string{addr})
	p.topic(p.in, 2)
	events := sentences(2, 50)
	p.send(events...)
	n := p.start()
	n.right(events)

	fake.Close()
	n.until("the status says that Kafka does not answer", func(st api.Status) bool { return st.Kafka.Error != "" })
	until(t, func() error {
		answer, err := n.client.Get(p.ctx(), p.app, []byte(`["user-1","raft"]`), api.ReadOptions{Wait: -1})
		if err == nil && (!answer.Found || answer.Parts[0].Role != api.RoleUnsure) {
			err = fmt.Errorf("without a broker: %+v", answer)
		}
		return err
	})
	if n.log.count("level=WARN", "Kafka does not answer") == 0 {
		t.Error("the log does not say that Kafka does not answer")
	}

	fakeAt(t, addr, dir)
	more := sentences(2, 50)
	p.send(more...)
	n.right(append(events, more...))
	n.until("the trouble is over", func(st api.Status) bool { return st.Kafka.Error == "" })
}

// The same on a real Kafka, killed under load; and a stop while it is away.
func TestBrokerKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("left out, it needs a real Kafka: -short")
	}
	t.Parallel()
	k := testkafka.Start(t, testkafka.Options{})
	p := newPlace(t, k.Addrs())
	p.topic(p.in, 2)
	n := p.start()
	var events []*kgo.Record
	for range 20 { // commits are in flight when the broker dies
		more := sentences(2, 50)
		p.send(more...)
		events = append(events, more...)
	}
	k.Kill(1)
	n.until("the status says that Kafka does not answer", func(st api.Status) bool { return st.Kafka.Error != "" })
	p.must(k.Restart(t.Context(), 1))
	n.right(events)

	more := sentences(2, 50)
	p.send(more...)
	events = append(events, more...)
	k.Kill(1)
	n.stop()
	p.must(k.Restart(t.Context(), 1))
	n = p.start(inDir(n.dir))
	n.right(events)
}

// A right that is missing is said in the status and in the log, and the lane goes on by itself when
// it is granted.
func TestTransactionsNotAuthorized(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	grant := p.withoutRights("")
	p.send(event(0, "a", "x"))
	n := p.launch()
	n.unauthorized()
	grant()
	n.ready()
	n.right([]*kgo.Record{event(0, "a", "x")})
}

// withoutRights has Kafka refuse all fences of transactional ids with this prefix until grant is
// called.
func (p *place) withoutRights(prefix string) (grant func()) {
	var granted atomic.Bool
	p.fake.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.InitProducerIDRequest)
		if granted.Load() || req.TransactionalID == nil || !strings.HasPrefix(*req.TransactionalID, prefix) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
		return resp, nil, true
	})
	return func() { granted.Store(true) }
}

// unauthorized waits until status and log say which right is missing.
func (n *tally) unauthorized() {
	n.t.Helper()
	st := n.until("a lane says what right it lacks", func(st api.Status) bool {
		return len(st.Apps) == 1 && st.Apps[0].Lanes[0].State == api.LaneAcquiring && strings.Contains(st.Apps[0].Lanes[0].Reason, "AUTHORIZATION")
	})
	lane := st.Apps[0].Lanes[0]
	saysText(n.t, lane.Reason, n.p.app+".lane-0", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "kafka-acls --transactional-id", "by itself")
	if n.log.count("level=WARN", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", n.p.app+".lane-0", "kafka-acls") == 0 {
		n.t.Errorf("the log does not say it")
	}
}

// The same with Kafka's own authorizer, and with rights taken away in mid-run.
func TestAuthorizer(t *testing.T) {
	if testing.Short() {
		t.Skip("left out, it needs a real Kafka: -short")
	}
	t.Parallel()
	k := testkafka.Start(t, testkafka.Options{SASLSSL: true, Props: map[string]string{
		"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":           "User:ANONYMOUS", // whoever comes by the plain listener: the test
	}})
	p := newPlace(t, k.Addrs())
	p.topic(p.in, 2)
	grant := func(b *kadm.ACLBuilder) {
		t.Helper()
		answers, err := p.adm.CreateACLs(p.ctx(), b.Allow("User:"+testkafka.User).ResourcePatternType(kadm.ACLPatternPrefixed))
		p.must(err)
		for _, a := range answers {
			p.must(a.Err)
		}
	}
	grant(kadm.NewACLs().Topics(p.app).Operations(kadm.OpAll).AllowHosts())
	grant(kadm.NewACLs().Groups(p.app).Operations(kadm.OpAll).AllowHosts())
	properties := filepath.Join(t.TempDir(), "client.properties")
	p.must(os.WriteFile(properties, []byte(fmt.Sprintf(`security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="%s" password="%s";
ssl.truststore.type=PEM
ssl.truststore.location=%s
`, testkafka.User, testkafka.Password, k.CA())), 0o600))
	secure := func(c *Config) { c.Brokers, c.KafkaConfig = k.Secure(), properties }
	events := sentences(2, 20)
	p.send(events...)
	n := p.launch(secure)
	n.unauthorized()
	grant(kadm.NewACLs().TransactionalIDs(p.app).Operations(kadm.OpAll).AllowHosts())
	n.ready()
	n.right(events)
}

// A record that the broker refuses is found by halving, down to the event, which gets its on_error.
// Events around it are counted.
func TestRefusedRecord(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 1)
		p.topic(p.out, 1)
		n := p.start()
		p.send(event(0, "a", "x"))
		n.settled(1)
		n.stop()
		// Smaller while the node runs: what it checks at the fold is the limit of its start.
		n = p.start(inDir(n.dir))
		p.setTopic(p.out, "max.message.bytes", "1000")
		long := noise(1500)
		events := []*kgo.Record{event(0, "a", "x")}
		for i := range 40 {
			e := event(0, fmt.Sprint("k", i), "x y")
			if i == 17 || i == 33 {
				e = event(0, fmt.Sprint("k", i), "x "+long)
			} else {
				events = append(events, e)
			}
			p.send(e)
		}
		if a := n.settled(41); a.Dead != 2 || a.Processed != 39 {
			t.Errorf("dead %d, processed %d", a.Dead, a.Processed)
		}
		n.has(count(events))
		dead := p.read(p.app + ".dead")
		if len(dead) != 2 || string(dead[0].Key) != "k17" || string(dead[1].Key) != "k33" {
			t.Fatalf("dead letters: %v", dead)
		}
		for _, h := range dead[0].Headers {
			if h.Key == "error" {
				saysText(t, string(h.Value), "refused by the broker", p.out, "MESSAGE_TOO_LARGE")
			}
		}
	})
}

// A changelog whose limit leaves room for a barrier and none for a position record: no event is
// held against it, whatever its on_error. The lane says which setting of which topic to mend, tries
// with pauses, and counts all once that is mended.
func TestRefusedPositionRecord(t *testing.T) {
	for _, onError := range []string{"dead", "skip"} {
		t.Run(onError, func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 1)
			changelog := p.app + ".changelog"
			n := p.start(running(p.spec(wordcount+"on_error: "+onError+"\n")), func(c *Config) { c.RetryMax = 400 * time.Millisecond })
			events := []*kgo.Record{event(0, "a", "x"), event(0, "a", "y"), event(0, "b", "x")}
			p.send(events[0])
			n.settled(1)
			barrier, position := p.sizesIn(changelog)
			if barrier > 400 || position < 800 {
				t.Fatalf("a barrier has %d bytes, a position record %d: no limit of 800 lies between them", barrier, position)
			}
			p.setTopic(changelog, "max.message.bytes", "800") // of which a client uses 512 for a batch
			began := time.Now()
			p.send(events[1:]...)
			until(t, func() error {
				if c := n.log.count("level=WARN", "position record", "raise max.message.bytes of "+changelog); c < 6 {
					return fmt.Errorf("it was said %d times", c)
				}
				return nil
			})
			if took := time.Since(began); took < 600*time.Millisecond { // with pauses of 50, 100, 200, 400, 400 ms
				t.Errorf("it was tried six times within %s", took)
			}
			n.until("the status says it", func(st api.Status) bool {
				return strings.Contains(st.Apps[0].Lanes[0].Reason, "raise max.message.bytes of "+changelog)
			})
			p.setTopic(changelog, "max.message.bytes", "1048588")
			if a := n.settled(3); a.Processed != 3 {
				t.Errorf("processed %d, dead %d, skipped %d", a.Processed, a.Dead, a.Skipped)
			}
			n.has(count(events))
			if dead, err := p.admin.EndOffsets(p.ctx(), p.app+".dead", false); err == nil && dead[0] > 0 {
				t.Errorf("there are dead letters up to offset %d", dead[0])
			}
		})
	}
}

// sizesIn are the bytes of the largest barrier and the smallest position record of a changelog.
func (p *place) sizesIn(changelog string) (barrier, position int) {
	p.t.Helper()
	for _, r := range p.read(changelog) {
		kind, _, _, err := state.DecodeKey(r.Key)
		p.must(err)
		switch size := len(r.Key) + len(r.Value); {
		case kind == state.KindBarrier:
			barrier = max(barrier, size)
		case kind == state.KindPosition && (position == 0 || size < position):
			position = size
		}
	}
	return barrier, position
}

// noise is a word of n letters that no compression makes short.
func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rand.IntN(26))
	}
	return string(b)
}

// An event whose group cannot fit into a record is known at the fold.
func TestTooLargeGroup(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	p.topic(p.out, 1, "max.message.bytes", "3000")
	n := p.start()
	p.send(event(0, "a", "x"), event(0, "a", strings.Repeat("y", 2500)), event(0, "a", "x"))
	if a := n.settled(3); a.Dead != 1 || a.Processed != 2 {
		t.Errorf("dead %d, processed %d", a.Dead, a.Processed)
	}
	if n.log.count("refused") != 0 {
		t.Error("it was sent to the broker")
	}
}
