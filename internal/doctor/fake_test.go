package doctor

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// later is a clock that is ahead, so that what was made a moment ago is old.
func later(d time.Duration) func(*Options) {
	return func(o *Options) { o.Kafka.Seam.Now = func() time.Time { return time.Now().Add(d) } }
}

// impatient waits for nothing.
func impatient(o *Options) {
	o.Kafka.Seam.Timer = func(time.Duration) (<-chan time.Time, func()) {
		c := make(chan time.Time, 1)
		c <- time.Now()
		return c, func() {}
	}
}

func TestFakeNothingThereYet(t *testing.T) {
	p := onFake(t)
	p.create(p.app.Input, 2)
	found := p.examine()
	for _, name := range []string{"output APP-out", "changelog APP.changelog", "dead letters APP.dead"} {
		want(t, found, name, OK, "not there yet")
		if _, ok, err := p.admin.Topic(limit(t), strings.ReplaceAll(name[strings.LastIndex(name, " ")+1:], "APP", p.app.Name)); ok || err != nil {
			t.Errorf("the doctor made %s (%v)", name, err)
		}
	}
	for _, name := range []string{"brokers", "transaction.version", "consumer group APP", "positions of APP", "transactions of APP",
		"rights on APP-in", "rights on group APP", "rights on transactions"} {
		want(t, found, name, OK)
	}
	if got := found["rights on APP-out"]; got != nil {
		t.Errorf("rights on a topic that is not there: %+v", got)
	}
}

func TestFakeSettings(t *testing.T) {
	p := onFake(t, kfake.BrokerConfigs(map[string]string{"offsets.retention.minutes": "60"}))
	p.create(p.app.Input, 3, "retention.ms=3600000")
	p.create(p.app.Output, 2, "cleanup.policy=compact")
	p.create(p.app.Changelog(), 3, "cleanup.policy=delete", ownLimit)
	p.create(p.app.Dead(), 3, "max.message.bytes=1000")
	found := p.examine()
	want(t, found, "offsets retention", Warning, "offsets.retention.minutes=60 on broker 0")
	if n := len(found["output APP-out"]); n != 2 {
		t.Errorf("the output has few partitions and is compacted: %+v", found["output APP-out"])
	}
	want(t, found, "changelog APP.changelog", Error, "cleanup.policy=delete")
	want(t, found, "dead letters APP.dead", Warning, "max.message.bytes=1114124")
}

func TestFakeTransactions(t *testing.T) {
	p := onFake(t)
	p.createAll()
	id := p.app.Name + ".lane-0"
	p.open(id, p.app.Output, 10*time.Second)
	want(t, p.examine(), "transactions of APP", OK, "open on 1 partition")
	want(t, p.examine(), "clock", Skipped, "is not behind Kafka")
	want(t, p.examine(later(time.Hour)), "transactions of APP", Error, fmt.Sprintf("%q (producer ", id),
		fmt.Sprintf("abort --topic %s --partition 0 --start-offset 0", p.app.Output), "its timeout is 10s")
	want(t, p.examine(later(-time.Hour)), "clock", Warning, "behind Kafka")
}

func TestFakeGroupMember(t *testing.T) {
	p := onFake(t)
	p.createAll()
	cl := p.client(kgo.ConsumerGroup(p.app.Name), kgo.ConsumeTopics(p.app.Input))
	for {
		n, _, err := p.admin.GroupMembers(limit(t), p.app.Name)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			break
		}
		cl.PollFetches(limitPoll(t)) // a member joins while it polls
	}
	want(t, p.examine(), "consumer group APP", Error, "1 member")
}

func TestFakePositions(t *testing.T) {
	p := onFake(t)
	p.createAll()
	for range 3 {
		p.produce(&kgo.Record{Topic: p.app.Input, Value: []byte("x"), Timestamp: time.Now().Add(-5 * 24 * time.Hour)})
	}
	input, _, err := p.admin.Topic(limit(t), p.app.Input)
	if err != nil {
		t.Fatal(err)
	}
	changelog, _, err := p.admin.Topic(limit(t), p.app.Changelog())
	if err != nil {
		t.Fatal(err)
	}
	at := func(offset int64) position {
		return position{InputTopicID: input.ID, ChangelogTopicID: changelog.ID, Input: offset}
	}
	p.position(0, at(1))
	found := p.examine()
	want(t, found, "positions of APP", OK, "1 position record", "2 offsets to count")
	want(t, found, "retention of APP-in", Warning, "offset 1 is not counted")
	want(t, p.examine(later(3*24*time.Hour)), "retention of APP-in", Error, "7 days")

	p.position(0, at(3))
	want(t, p.examine(), "retention of APP-in", OK)
	p.position(0, at(4))
	want(t, p.examine(), "positions of APP", Error, "the position is 4, and the input ends at 3")

	other := at(3)
	other.InputTopicID = "another"
	p.position(0, other)
	want(t, p.examine(), "positions of APP", Error, "made again", "another")
	p.produce(&kgo.Record{Topic: p.app.Changelog(), Key: []byte{2, 'p', 0}, Value: []byte("?")})
	want(t, p.examine(), "positions of APP", Error, "newer tally")
}

func TestFakeOffsets(t *testing.T) {
	p := onFake(t)
	p.createAll()
	p.produce(&kgo.Record{Topic: p.app.Input, Value: []byte("x")})
	adm := kadm.NewClient(p.client())
	commit := func(offset int64) {
		var o kadm.Offsets
		o.AddOffset(p.app.Input, 0, offset, -1)
		if err := adm.CommitAllOffsets(limit(t), p.app.Name, o); err != nil {
			t.Fatal(err)
		}
	}
	commit(1)
	want(t, p.examine(impatient), "positions of APP", Error, "has the offset 1, and the changelog has no position record", "--delete-offsets")
	p.position(0, position{Input: 1})
	want(t, p.examine(impatient), "positions of APP", OK)
	p.position(0, position{Input: 0})
	want(t, p.examine(impatient), "positions of APP", Error, "offset 1 is beyond the position 0")
	p.position(0, position{Input: 1})
	commit(0)
	want(t, p.examine(impatient), "positions of APP", Error, "offset 0 is below the position 1")
}

// Of an app of two stages, the position records of both are in one partition of the changelog: each
// is compared with its own topic.
func TestFakeTwoStages(t *testing.T) {
	p := onFake(t)
	p.create(p.app.Input, 2)
	p.app.TwoStages = func(int) (bool, error) { return true, nil }
	p.app.Repartitions = 3
	want(t, p.examine(), "repartition topic APP.repartition", OK, "not there yet")

	p.create(p.app.Changelog(), 3, "cleanup.policy=compact", ownLimit)
	p.create(p.app.Repartition(), 3, ownLimit, "retention.ms=-1")
	p.create(p.app.Output, 2)
	for range 3 {
		p.produce(&kgo.Record{Topic: p.app.Input, Value: []byte("x")})
	}
	for range 7 {
		p.produce(&kgo.Record{Topic: p.app.Repartition(), Value: []byte("x")})
	}
	second := func(input int64) {
		value := fmt.Sprintf("\x01p{\"input\":%d,\"repartitions\":3}", input)
		p.produce(&kgo.Record{Topic: p.app.Changelog(), Key: []byte{1, 'p', 1}, Value: []byte(value)})
	}
	p.position(0, position{Input: 2, Repartitions: 3})
	second(6)
	found := p.examine(impatient)
	want(t, found, "positions of APP", OK, "1 position record", "1 offset to count")
	want(t, found, "positions of APP.repartition", OK, "1 position record", "1 offset to count")
	want(t, found, "trimming of APP.repartition", OK, "tried")
	want(t, found, "rights on APP.repartition", OK)
	want(t, found, "output APP-out", Error, "the counts are spread over 3")
	if starts, err := p.admin.StartOffsets(limit(t), p.app.Repartition()); err != nil || starts[0] != 0 {
		t.Errorf("the doctor has trimmed the topic: %v %v", starts, err)
	}
	if err := p.admin.DeleteRecords(limit(t), p.app.Repartition(), map[int32]int64{0: 7}); err != nil {
		t.Fatal(err)
	}
	want(t, p.examine(impatient), "positions of APP.repartition", Error, "the position is 6, and the repartition topic begins at 7")
	second(8)
	want(t, p.examine(impatient), "positions of APP.repartition", Error, "the position is 8, and the repartition topic ends at 7")

	p.app.TwoStages = func(int) (bool, error) { return false, nil } // its position records know better
	want(t, p.examine(impatient), "positions of APP.repartition", Error)
}

// rights are those of a user, each by its resource; APP is the app.
type rights map[string][]kmsg.ACLOperation

// allRights are what tally needs on a Kafka whose topics are made by somebody else.
func allRights() rights {
	read, write := kmsg.ACLOperationRead, kmsg.ACLOperationWrite
	return rights{
		"topic app-":            {read, write, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationCreate},
		"group app-":            {read},
		"transactional-id app-": {write},
		"cluster kafka-cluster": {kmsg.ACLOperationDescribeConfigs},
	}
}

// asUser is a place on a Kafka with ACLs, made by its superuser and looked at by one with the
// rights.
func asUser(t *testing.T, r rights) (p *place, user func(*Options)) {
	t.Helper()
	kinds := map[string]kmsg.ACLResourceType{"topic": kmsg.ACLResourceTypeTopic, "group": kmsg.ACLResourceTypeGroup,
		"transactional-id": kmsg.ACLResourceTypeTransactionalId, "cluster": kmsg.ACLResourceTypeCluster}
	var acls []kfake.ACL
	for resource, operations := range r {
		kind, name, _ := strings.Cut(resource, " ")
		for _, o := range operations {
			acls = append(acls, kfake.ACL{Resource: kinds[kind], Name: name, Pattern: kmsg.ACLResourcePatternTypePrefixed, Operation: o, Allow: true})
		}
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "root", "root"), kfake.User("PLAIN", "tally", "pw", acls...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	cfg.SASL = append(cfg.SASL, plain.Auth{User: "root", Pass: "root"}.AsMechanism())
	p = newPlace(t, cfg)
	cfg.SASL = nil
	cfg.SASL = append(cfg.SASL, plain.Auth{User: "tally", Pass: "pw"}.AsMechanism())
	return p, func(o *Options) { o.Kafka = cfg }
}

// Each right that is taken away is told, and with all of them all is well.
func TestFakeRights(t *testing.T) {
	t.Parallel()
	without := func(resource string, op kmsg.ACLOperation) rights {
		r := allRights()
		var kept []kmsg.ACLOperation
		for _, o := range r[resource] {
			if o != op {
				kept = append(kept, o)
			}
		}
		r[resource] = kept
		return r
	}
	for _, c := range []struct {
		what   string
		rights rights
		check  string
		result Result
		says   string
	}{
		{"all", allRights(), "rights on APP-in", OK, "DescribeConfigs, Read"},
		{"no read", without("topic app-", kmsg.ACLOperationRead), "rights on APP-in", Error, "--operation Read --topic"},
		{"no read of others' transactions", without("topic app-", kmsg.ACLOperationRead), "transactions of APP", OK, "not looked at"},
		{"no write", without("topic app-", kmsg.ACLOperationWrite), "rights on APP-out", Error, "--operation Write --topic"},
		{"no settings", without("topic app-", kmsg.ACLOperationDescribeConfigs), "rights on APP-in", Warning, "DescribeConfigs"},
		{"no create", without("topic app-", kmsg.ACLOperationCreate), "dead letters APP.dead", Error, "--operation Create --topic"},
		{"create", allRights(), "dead letters APP.dead", OK, "not there yet"},
		{"no group", without("group app-", kmsg.ACLOperationRead), "rights on group APP", Error, "--operation Read --group"},
		{"no transactions", without("transactional-id app-", kmsg.ACLOperationWrite), "rights on transactions", Error, "--transactional-id"},
		{"no trimming", allRights(), "trimming of APP.repartition", Warning, "--operation Delete --topic"},
		{"no broker settings", without("cluster kafka-cluster", kmsg.ACLOperationDescribeConfigs), "offsets retention", Skipped, "--operation DescribeConfigs --cluster"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, user := asUser(t, c.rights)
			p.create(p.app.Input, 2)
			p.create(p.app.Output, 2)
			p.create(p.app.Changelog(), 2, "cleanup.policy=compact", ownLimit)
			if c.what == "no trimming" {
				p.app.TwoStages = func(int) (bool, error) { return true, nil }
				p.create(p.app.Repartition(), 2, ownLimit, "retention.ms=-1")
			}
			found := p.examine(user)
			want(t, found, c.check, c.result, c.says)
			if c.what != "all" {
				return
			}
			for name, list := range found {
				if name != "broker version" && name != "free disk" && (list[0].Result == Error || list[0].Result == Warning) {
					t.Errorf("with all rights %s is %+v", name, list)
				}
			}
		})
	}
}

// A right on each lane's id by name shows on no other id; one that some lanes lack is found.
func TestFakeLiteralTransactionalIDs(t *testing.T) {
	t.Parallel()
	r := allRights()
	delete(r, "transactional-id app-")
	r["transactional-id app.lane-0"] = []kmsg.ACLOperation{kmsg.ACLOperationWrite}
	r["transactional-id app.lane-1"] = []kmsg.ACLOperation{kmsg.ACLOperationWrite}
	r["group app"] = []kmsg.ACLOperation{kmsg.ACLOperationRead}
	p, user := asUser(t, r)
	p.app.Name = "app"
	p.create(p.app.Input, 3)
	want(t, p.examine(user), "rights on transactions", Error, "Write is missing on the transactional id app.lane-2")
	p.app.Lanes = 2
	want(t, p.examine(user), "rights on transactions", OK, "app.lane-0 to 1")
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	opt := Options{Kafka: kafka.Config{Brokers: []string{l.Addr().String()}, Seam: seam.World()}, Patience: 300 * time.Millisecond}
	if _, err := Examine(limit(t), opt); err == nil || !strings.Contains(err.Error(), "no broker answers") {
		t.Error(err)
	}
}

// A broker whose advertised address leads nowhere is told, although the bootstrap address answers.
func TestFakeAdvertisedAddress(t *testing.T) {
	p := onFake(t, kfake.NumBrokers(2))
	found := p.examine(func(o *Options) {
		o.Patience, o.Apps = 200*time.Millisecond, nil
		second := o.Kafka.Brokers[1]
		o.Kafka.Brokers = o.Kafka.Brokers[:1]
		dial := o.Kafka.Seam.Dial
		o.Kafka.Seam.Dial = dialExcept(dial, second)
	})
	want(t, found, "brokers", Error, "broker 1 at ", "advertised.listeners")
}

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"state/wordcount/0", "state/wordcount/1", "state/letters/0", "state/letters/0.damaged", "broker"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"node.json": `{"id":""}`, "broker/identity.json": `{"cluster_id":"k7"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := listing(t, dir)
	m := lookMachine(dir)
	if m.writable != nil || m.identity == nil || m.embedded != "k7" || m.pid != 0 || m.stores["wordcount"] != 2 || m.stores["letters"] != 1 {
		t.Errorf("%+v", m)
	}
	if m.free.v == 0 || m.size.v < m.free.v || m.files.v == 0 {
		t.Errorf("disk and files: %+v", m)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("it leaves %s, there was %s", after, before)
	}
	if m := lookMachine(filepath.Join(dir, "nothing")); m.there || checkDataDir(&facts{machine: m}).Result != Skipped {
		t.Errorf("no data dir: %+v", m)
	}
}

func TestMachineOfARunningNode(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := os.Stat("/proc/locks"); err != nil {
		t.Skip("this system has no list of locks")
	}
	if pid := runningPID(dir); pid != 0 {
		t.Errorf("nobody holds the lock, and it says %d", pid)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if pid := runningPID(dir); pid != os.Getpid() {
		t.Errorf("the holder is %d, not %d", pid, os.Getpid())
	}
	if n, ok := filesOfProcess(os.Getpid()); !ok || n == 0 {
		t.Errorf("open files of this process: %d, %v", n, ok)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(all, hidden...), " ")
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReportThatCannotBeWritten(t *testing.T) {
	r := newReport([]Check{{Name: "x", Result: OK}})
	if r.WriteText(failing{}) == nil || r.WriteJSON(failing{}) == nil {
		t.Error("a full disk is not told")
	}
}
