package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// TestRealKafka looks at an app with an open transaction on a real Kafka, and sees that looking
// changed nothing.
func TestRealKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Kafka")
	}
	t.Parallel()
	p := newPlace(t, kafka.Config{Brokers: testkafka.Shared(t).Addrs(), Seam: seam.World()})
	p.createAll()
	p.produce(&kgo.Record{Topic: p.app.Input, Value: []byte("x"), Timestamp: time.Now().Add(-5 * 24 * time.Hour)})
	p.position(0, position{Input: 0})
	p.open(p.app.Name+".lane-0", p.app.Output, time.Minute)
	before := p.snapshot()
	found := p.examine(later(time.Hour))
	// What is tried on a lane's own id, where rights are given id by id, ends nothing either.
	if err := p.admin.TryTransaction(limit(t), p.app.Name+".lane-0"); err != nil {
		t.Error(err)
	}
	if after := p.snapshot(); after != before {
		t.Errorf("it changed\n%s\nto\n%s", before, after)
	}

	for _, name := range []string{"brokers", "broker version", "transaction.version", "offsets retention", "input APP-in", "output APP-out",
		"changelog APP.changelog", "dead letters APP.dead", "consumer group APP", "positions of APP", "rights on APP-in", "rights on APP-out",
		"rights on APP.changelog", "rights on APP.dead", "rights on group APP", "rights on transactions"} {
		want(t, found, name, OK)
	}
	want(t, found, "broker version", OK, "v4.")
	want(t, found, "transaction back-off", Warning, "add.partitions.to.txn.retry.backoff.ms=20 on broker 1")
	want(t, found, "retention of APP-in", Warning, "offset 0")
	want(t, found, "transactions of APP", Error, ".lane-0", "its timeout is 1m0s")

	// An app that has nothing yet: its topics are tried and not made.
	p.app.Name, p.app.Output = "another-"+p.cfg.Seam.NewID(), "another-"+p.cfg.Seam.NewID()
	found = p.examine()
	for _, name := range []string{"output " + p.app.Output, "changelog APP.changelog", "dead letters APP.dead"} {
		want(t, found, name, OK, "not there yet")
	}
	if after := p.snapshot(); after != before {
		t.Errorf("trying changed\n%s\nto\n%s", before, after)
	}
}

// TestRealRights takes away one right after the other on a real Kafka with ACLs: that Kafka looks
// at the right before it finds that the member or the producer does not exist is what the trials
// rest on.
func TestRealRights(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a Kafka of its own")
	}
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{SASLSSL: true, Props: map[string]string{
		"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":           "User:ANONYMOUS", // the listener without SASL
	}})
	file := filepath.Join(t.TempDir(), "client.properties")
	text := fmt.Sprintf("security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.username=%s\nsasl.password=%s\n"+
		"ssl.truststore.type=PEM\nssl.truststore.location=%s\n", testkafka.User, testkafka.Password, c.CA())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	alice, err := kafka.Load(c.Secure(), file, func(string) string { return "" }, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	asAlice := func(o *Options) { o.Kafka = alice }
	p := newPlace(t, kafka.Config{Brokers: c.Addrs(), Seam: seam.World()})
	p.create(p.app.Input, 2)
	p.create(p.app.Output, 2)
	p.create(p.app.Changelog(), 2, "cleanup.policy=compact", ownLimit)

	found := p.examine(asAlice)
	for _, name := range []string{"rights on group APP", "rights on transactions"} {
		want(t, found, name, Error, "is missing")
	}
	for name, operation := range map[string]string{"APP-in": "Read", "APP-out": "Write", "APP.changelog": "Write"} {
		told := fmt.Sprint(found["rights on "+name])
		if !strings.Contains(told, operation+" is missing") {
			t.Errorf("without a right to %s: %s", name, told)
		}
	}
	want(t, found, "offsets retention", Skipped, "--operation DescribeConfigs --cluster")

	adm := kadm.NewClient(p.client())
	allow := func(p kadm.ACLPattern) *kadm.ACLBuilder {
		return kadm.NewACLs().ResourcePatternType(p).Allow("User:" + testkafka.User).AllowHosts("*")
	}
	prefixed := kadm.ACLPatternPrefixed
	for _, b := range []*kadm.ACLBuilder{
		allow(prefixed).Topics("app-").Operations(kadm.OpRead, kadm.OpWrite, kadm.OpDescribeConfigs, kadm.OpCreate),
		allow(prefixed).Groups("app-").Operations(kadm.OpRead),
		allow(prefixed).TransactionalIDs("app-").Operations(kadm.OpWrite),
		allow(kadm.ACLPatternLiteral).Clusters().Operations(kadm.OpDescribeConfigs),
	} {
		if _, err := adm.CreateACLs(limit(t), b); err != nil {
			t.Fatal(err)
		}
	}
	before := p.snapshot()
	for ctx := limit(t); ; { // the broker hears of ACLs a little later
		found = p.examine(asAlice)
		if found["rights on transactions"][0].Result == OK && found["offsets retention"][0].Result == OK {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("with all rights: %+v", found)
		}
	}
	for _, name := range []string{"rights on APP-in", "rights on APP-out", "rights on APP.changelog", "rights on group APP",
		"dead letters APP.dead", "transactions of APP", "positions of APP", "consumer group APP"} {
		want(t, found, name, OK)
	}
	if after := p.snapshot(); after != before {
		t.Errorf("it changed\n%s\nto\n%s", before, after)
	}
}

// snapshot is all that a doctor could have changed: topics with their ends, groups, transactional
// ids.
func (p *place) snapshot() string {
	p.t.Helper()
	adm := kadm.NewClient(p.client())
	ctx := limit(p.t)
	ends, err := adm.ListEndOffsets(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	var lines []string
	ends.Each(func(o kadm.ListedOffset) { lines = append(lines, fmt.Sprint(o.Topic, o.Partition, o.Offset)) })
	groups, err := adm.ListGroups(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	ids, err := adm.ListTransactions(ctx, nil, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, id := range ids.Sorted() {
		lines = append(lines, fmt.Sprint(id.TxnID, id.ProducerID, id.State))
	}
	slices.Sort(lines)
	return fmt.Sprint(lines, groups.Groups())
}
