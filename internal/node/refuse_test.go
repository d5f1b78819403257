package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
)

// topics are the names of all topics that there are.
func (p *place) topics() string {
	p.t.Helper()
	all, err := p.adm.ListTopics(p.ctx())
	p.must(err)
	return strings.Join(all.Names(), " ")
}

func TestMissingInput(t *testing.T) {
	p := onFake(t)
	says(t, p.refused(), p.in, "kafka-topics --bootstrap-server "+p.addrs[0]+" --create --topic "+p.in, "--create-topics")
	if all := p.topics(); all != "" {
		t.Errorf("a refused start made the topics %s", all)
	}
	n := p.start(func(c *Config) { c.CreateTopics = 3 })
	n.stop()
	for _, topic := range []string{p.in, p.out, p.app + ".changelog", p.app + ".dead"} {
		if got, ok, err := p.admin.Topic(p.ctx(), topic); err != nil || !ok || got.Partitions != 3 {
			t.Errorf("%s: %+v, %v", topic, got, err)
		}
	}
}

// TestInputOfThisMoment: a broker that does not know the input yet, as one of several may not when
// it was made just now, is asked again.
func TestInputOfThisMoment(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	var asked atomic.Int32
	p.fake.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		at := slices.IndexFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool { return t.Topic != nil && *t.Topic == p.in })
		if at < 0 || asked.Add(1) > 2 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		for _, t := range req.Topics {
			answer := kmsg.NewMetadataResponseTopic()
			answer.Topic, answer.ErrorCode = t.Topic, kerr.UnknownTopicOrPartition.Code
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
	n := p.start()
	defer n.stop()
	if asked.Load() < 3 {
		t.Errorf("the input was looked for %d times", asked.Load())
	}
}

func TestOutputRefused(t *testing.T) {
	t.Run("equal to the input", func(t *testing.T) {
		t.Parallel()
		_, err := spec.Parse([]byte("app: a\ninput: {topic: x}\ngroup: [key]\noutput: {topic: x}\n"), "a.yaml")
		says(t, err, "a.yaml", "input topic x")
	})
	t.Run("compacted with key: event", func(t *testing.T) {
		p := onFake(t)
		p.topic(p.in, 2)
		p.topic(p.out, 2, "cleanup.policy", "compact")
		says(t, p.refused(), p.out, "compacted", "key: event", "output.key: group", "cleanup.policy=delete")
		if all := p.topics(); all != p.in+" "+p.out {
			t.Errorf("a refused start made a topic: %s", all)
		}
	})
	t.Run("with fewer partitions", func(t *testing.T) {
		p := onFake(t)
		p.topic(p.in, 3)
		p.topic(p.out, 2)
		says(t, p.refused(), p.out, "2 partitions", "has 3", "kafka-topics --bootstrap-server "+p.addrs[0]+" --alter --topic "+p.out+" --partitions 3")
		if all := p.topics(); all != p.in+" "+p.out {
			t.Errorf("a refused start made a topic: %s", all)
		}
	})
}

func TestNotLocalOrTooManyLanes(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	words := p.spec("app: $APP\ninput: {topic: $IN}\nsplit: words\ngroup: [item]\nrepartition: never\n")
	says(t, p.refused(running(words)), "not local", "repartition", p.in, "2 partitions")
	says(t, p.refused(running(p.spec(wordcount+"lanes: 3\n"))), "lanes: 3", "2 partitions")
	if all := p.topics(); all != p.in {
		t.Errorf("a refused start made a topic: %s", all)
	}
}

func TestChangelogNotCompacted(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	p.topic(p.app+".changelog", 2, "cleanup.policy", "delete")
	says(t, p.refused(), p.app+".changelog", "cleanup.policy=delete", "kafka-configs", "cleanup.policy=compact")
}

// A spec that no longer fits is refused field by field, with the data dir kept and removed.
func TestUnfitSpec(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	p.topic(p.in+"2", 2)
	base := trades + "lanes: 2\n"
	n := p.start(running(p.spec(base)))
	n.stop()
	for _, c := range []struct{ old, now, field, stored, given string }{
		{"$IN,", "$IN2,", "input.topic", p.in, p.in + "2"},
		{"format: json", "format: json, start: latest", "input.start", "earliest", "latest"},
		{"[buy, sell]", "[buy]", "where", "sell", "[buy]"},
		{"[key]", "[key, {path: type, as: type}]", "group", "[key]", "type"},
		{"{n: count", "{m: count", "aggregates", `"n": count`, "m: count"},
		{"{sum: price}", "{sum: amount}", "aggregates", "sum: price", "sum: amount"},
		{", key: group", "", "output.key", "group", "event"},
		{"output: {topic: $OUT, key: group}\n", "", "output", p.out, "none"},
		{"group: [key]", "group: [key]\nsplit: {each: items}", "split", "none", "each"},
		{"lanes: 2", "lanes: 1", "lanes", "2", "1"},
	} {
		s := p.spec(replaced(base, c.old, c.now))
		for _, dir := range []string{n.dir, t.TempDir()} {
			err := p.refused(inDir(dir), running(s))
			says(t, err, p.app, c.field+": counted with ", c.stored, ", now ", c.given, "another `app:` name")
		}
	}
	// What may change, and both at once.
	s := p.spec(replaced(replaced(base, "$OUT", "$OUT.new, emit: every"), "lanes: 2", "lanes: 2\non_error: skip"))
	n = p.start(inDir(n.dir), running(s))
	n.stop()
	two := p.spec(replaced(replaced(base, "[buy, sell]", "[buy]"), "lanes: 2", "lanes: 1"))
	says(t, p.refused(inDir(n.dir), running(two)), "\n  where: ", "\n  lanes: ")
}

// The state of one Kafka is not the other's.
func TestDataDirOfAnotherKafka(t *testing.T) {
	p := onFake(t, kfake.ClusterID("kafka-one"))
	p.topic(p.in, 2)
	n := p.start()
	n.stop()
	other, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("kafka-two"))
	p.must(err)
	defer other.Close()
	q := newPlace(t, other.ListenAddrs())
	q.app, q.in, q.out = p.app, p.in, p.out
	q.topic(q.in, 2)
	says(t, q.refused(inDir(n.dir)), "kafka-one", "kafka-two", n.dir)
	if all := q.topics(); all != q.in {
		t.Errorf("a refused start made topics on the other Kafka: %s", all)
	}
}

func TestChangelogMadeAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, _ := counted(p)
		changelog := p.app + ".changelog"
		old, _, err := p.admin.Topic(p.ctx(), changelog)
		p.must(err)
		p.must(p.admin.DeleteTopics(p.ctx(), changelog))
		for _, dir := range []string{n.dir, t.TempDir()} {
			says(t, p.refused(inDir(dir)), p.app, p.in, "no position record", "changelog")
		}
		// With the group's offsets gone too, only the data dir remembers.
		p.deleteOffset(0)
		p.deleteOffset(1)
		says(t, p.refused(inDir(n.dir)), old.ID, n.dir, "remove that directory")
	})
}

func TestInputMadeAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, _ := counted(p)
		old, _, err := p.admin.Topic(p.ctx(), p.in)
		p.must(err)
		p.must(p.admin.DeleteTopics(p.ctx(), p.in))
		p.remake(p.in, 2)
		now, _, err := p.admin.Topic(p.ctx(), p.in)
		p.must(err)
		for _, dir := range []string{n.dir, t.TempDir()} {
			says(t, p.refused(inDir(dir)), "input topic "+p.in, old.ID, now.ID, "another `app:` name")
		}
	})
}

// remake makes a topic again, once Kafka has done with the old one.
func (p *place) remake(name string, partitions int) {
	p.t.Helper()
	until(p.t, func() error {
		_, err := p.adm.CreateTopic(p.ctx(), int32(partitions), 1, nil, name)
		return err
	})
	until(p.t, func() error {
		_, ok, err := p.admin.Topic(p.ctx(), name)
		if err == nil && !ok {
			err = kerr.UnknownTopicOrPartition
		}
		return err
	})
}

// A topic that is deleted and made again in mid-run is not counted on as if it were the old one.
func TestInputMadeAgainInMidRun(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, _ := counted(p)
		n = p.start(inDir(n.dir))
		old, _, err := p.admin.Topic(p.ctx(), p.in)
		p.must(err)
		p.must(p.admin.DeleteTopics(p.ctx(), p.in))
		p.remake(p.in, 2)
		now, _, err := p.admin.Topic(p.ctx(), p.in)
		p.must(err)
		p.connect()
		p.send(event(0, "a", "new"), event(0, "a", "new"), event(0, "a", "new"), event(1, "b", "new"), event(1, "b", "new"))
		for lane := range 2 {
			saysText(t, n.lane(lane, api.LaneStopped).Reason, "input topic "+p.in, old.ID, now.ID)
		}
		if got := n.counts()[`["a","new"]`]; got != "" {
			t.Errorf("events of the new topic are counted: %s", got)
		}
	})
}

func TestTwoNodesOnOneDataDir(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start()
	says(t, p.refused(inDir(n.dir)), n.dir, "in use", "pid "+pid(), "--data-dir")
	n.stop()
	p.start(inDir(n.dir))
}

func TestListenRefused(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	p.must(err)
	defer l.Close()
	says(t, p.refused(listening(l.Addr().String())), l.Addr().String(), "in use", "--listen")
	for _, addr := range []string{"0.0.0.0:7400", ":7400", "192.0.2.1:7400"} {
		says(t, p.refused(listening(addr)), "--listen "+addr, "tally certs", "tally token", "127.0.0.1:PORT")
	}
}

// A node without an app serves all the same, and says how it gets one.
func TestNothingToRun(t *testing.T) {
	p := onFake(t)
	n := p.launch(func(c *Config) { c.Specs = []*spec.Spec{} })
	until(t, func() error {
		if n.out.count("no app yet", "tally submit") != 1 {
			return errors.New(n.out.tail(10))
		}
		return nil
	})
	n.stop()
	s := p.spec(wordcount)
	says(t, p.refused(func(c *Config) { c.Specs = []*spec.Spec{s, s} }), p.app, "own `app:` name")
}

// A broker without transactions, or too old, is refused at the start, by what it lacks.
func TestOldBroker(t *testing.T) {
	without := func(keys ...int16) *kversion.Versions {
		v := kversion.Stable()
		for _, k := range keys {
			v.SetMaxKeyVersion(k, -1)
		}
		return v
	}
	offsets := kversion.Stable()
	offsets.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 2)
	for name, c := range map[string]struct {
		versions *kversion.Versions
		lacks    string
	}{
		"no transactions": {without(int16(kmsg.InitProducerID)), "InitProducerID"},
		"no offsets":      {without(int16(kmsg.TxnOffsetCommit)), "TxnOffsetCommit"},
		"old offsets":     {offsets, "TxnOffsetCommit"},
		"Kafka 0.10.2":    {kversion.V0_10_2(), "InitProducerID"},
		"Kafka 2.4":       {kversion.V2_4_0(), "TxnOffsetCommit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.MaxVersions(c.versions))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.Close)
			p := newPlace(t, k.ListenAddrs())
			says(t, p.refused(), c.lacks, "transactions", "2.5", p.addrs[0])
		})
	}
	t.Run("Kafka 2.5", func(t *testing.T) {
		p := onFake(t, kfake.MaxVersions(kversion.V2_5_0()))
		p.topic(p.in, 2)
		events := sentences(2, 20)
		p.send(events...)
		n := p.start()
		n.right(events)
		if n.log.count("level=WARN", "transaction.version") != 1 {
			t.Error("no warning of transaction.version")
		}
	})
}

func pid() string { return fmt.Sprint(os.Getpid()) }
