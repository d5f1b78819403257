package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func rightsOf(rights ...kafka.Right) answer[kafka.Rights] {
	var r kafka.Rights
	for _, one := range rights {
		r |= 1 << one
	}
	return answer[kafka.Rights]{v: r}
}

func goodTopic(role, name string, configs map[string]string, needs ...kafka.Right) topic {
	c := map[string]string{"cleanup.policy": "delete", "min.insync.replicas": "2", "max.message.bytes": "1048588"}
	maps.Copy(c, configs)
	return topic{role: role, there: true, needs: needs, rights: rightsOf(needs...), known: true,
		Topic: kafka.Topic{Name: name, ID: "id-" + role, Partitions: 2, Replication: 3, Configs: c}}
}

// good are the facts of three brokers and one app where all is well.
func good() *facts {
	own := map[string]string{"max.message.bytes": "1114124"}
	compact := map[string]string{"max.message.bytes": "1114124", "cleanup.policy": "compact"}
	at := func(a, b int64) answer[map[int32]int64] {
		return answer[map[int32]int64]{v: map[int32]int64{0: a, 1: b}}
	}
	pos := func(input int64) position {
		return position{InputTopicID: "id-input", ChangelogTopicID: "id-changelog", Input: input}
	}
	a := &appFacts{
		App:       App{Name: "wordcount", Input: "input_event", Output: "output_event", KeyEvent: true, DeadLetters: true},
		input:     goodTopic("input", "input_event", map[string]string{"retention.ms": "604800000"}, kafka.RightDescribeConfigs, kafka.RightRead),
		output:    goodTopic("output", "output_event", nil, kafka.RightWrite),
		changelog: goodTopic("changelog", "wordcount.changelog", compact, kafka.RightRead, kafka.RightWrite),
		dead:      goodTopic("dead letters", "wordcount.dead", own, kafka.RightWrite),
		offsets:   at(10, 20), offsetsAfter: at(11, 20), starts: at(5, 5), ends: at(30, 20),
		half: at(8, -1), expired: at(5, 5), askedAt: noon,
		positions: answer[map[int32]position]{v: map[int32]position{0: pos(11), 1: pos(20)}},

		repartitions: 2,
		repartition: goodTopic("repartition topic", "wordcount.repartition", map[string]string{"max.message.bytes": "1114124", "retention.ms": "-1", "retention.bytes": "-1"},
			kafka.RightRead, kafka.RightWrite),
		second: read{offsets: at(40, 50), offsetsAfter: at(40, 50), starts: at(40, 30), ends: at(47, 50),
			positions: answer[map[int32]position]{v: map[int32]position{0: pos(40), 1: pos(50)}}},
	}
	a.transactedAs = "wordcount.lane-*"
	settings := map[string]string{"add.partitions.to.txn.retry.backoff.ms": "1", "offsets.retention.minutes": "10080"}
	return &facts{
		now:       noon,
		commands:  commands{brokers: []string{"kafka-1:9092"}},
		clusterID: answer[string]{v: "k1"},
		brokers: answer[[]kafka.Broker]{v: []kafka.Broker{
			{ID: 1, Addr: "kafka-1:9092"}, {ID: 2, Addr: "kafka-2:9092"}, {ID: 3, Addr: "kafka-3:9092"}}},
		guess:        answer[string]{v: "v4.3"},
		requests:     answer[map[int16]int16]{v: map[int16]int16{22: 6, 26: 5, 28: 5, 9: 10}},
		transactions: answer[int16]{v: 2},
		settings:     answer[map[int32]map[string]string]{v: map[int32]map[string]string{1: settings, 2: maps.Clone(settings), 3: maps.Clone(settings)}},
		node: &api.Status{Node: "a", Version: "v1", Kafka: api.KafkaStatus{ClusterID: "k1", Brokers: []string{"kafka-1:9092"}},
			Nodes: []api.NodeStatus{{Name: "a", Pid: 4711}},
			Apps:  []api.AppStatus{{App: "wordcount", Lanes: []api.LaneStatus{{Lane: 0, State: api.LaneRunning}, {Lane: 1, State: api.LaneRunning}}}}},
		machine: machine{dir: "/data", there: true, stores: map[string]int{"wordcount": 2}, pid: 4711,
			free: answer[uint64]{v: 50 << 30}, size: answer[uint64]{v: 100 << 30}, files: answer[uint64]{v: 65536}},
		apps: []*appFacts{a},
	}
}

// A wrong is one thing that is not well, and the one check that must tell it.
type wrong struct {
	what   string
	change func(f *facts, a *appFacts)
	check  string
	result Result
	says   string
}

func wrongs() []wrong {
	unanswered := errors.New("no answer in 5 s")
	denied := fmt.Errorf("cannot do it: %w", error(kerr.ClusterAuthorizationFailed))
	set := func(t *topic, setting, value string) { t.Configs[setting] = value }
	at := func(m map[int32]int64, v int64) { m[0] = v }
	open := func(state *kafka.Transaction) func(*facts, *appFacts) {
		return func(_ *facts, a *appFacts) {
			o := openTransaction{id: "wordcount.lane-0", state: state}
			o.Topic, o.Partition, o.ProducerID, o.StartOffset, o.LastMs = "output_event", 1, 12, 77, noon.UnixMilli()
			a.open.v = []openTransaction{o}
		}
	}
	ongoing := func(ago time.Duration) *kafka.Transaction {
		return &kafka.Transaction{State: "Ongoing", StartMs: noon.Add(-ago).UnixMilli(), TimeoutMs: 10_000,
			Topics: map[string][]int32{"output_event": {1}}}
	}
	return []wrong{
		{"a broker is away", func(f *facts, _ *appFacts) { f.brokers.v[1].Err = errors.New("refused") }, "brokers", Error, "broker 2 at kafka-2:9092"},
		{"an old request", func(f *facts, _ *appFacts) { f.requests.v[9] = 6 }, "broker version", Error, "OffsetFetch version 7"},
		{"the oldest requests", func(f *facts, _ *appFacts) { f.requests.v = map[int16]int16{22: 0, 26: 0, 28: 3, 9: 7} }, "broker version", OK, "v4.3"},
		{"the oldest broker without fault", func(f *facts, _ *appFacts) { f.guess.v = "v4.2" }, "broker version", OK, "v4.2"},
		{"an older broker of a newer major", func(f *facts, _ *appFacts) { f.guess.v = "v5.0" }, "broker version", OK, "v5.0"},
		{"a back-off of 5 ms", func(f *facts, _ *appFacts) { f.settings.v[1]["add.partitions.to.txn.retry.backoff.ms"] = "5" }, "transaction back-off", OK, "=5"},
		{"all brokers", func(f *facts, _ *appFacts) {
			for _, s := range f.settings.v {
				s["offsets.retention.minutes"] = "60"
			}
		}, "offsets retention", Warning, "=60 on brokers 1, 2, 3"},
		{"no transactions", func(f *facts, _ *appFacts) { delete(f.requests.v, 22) }, "broker version", Error, "InitProducerID"},
		{"an older broker", func(f *facts, _ *appFacts) { f.guess.v = "v4.1" }, "broker version", Warning, "KAFKA-19690"},
		{"a much older broker", func(f *facts, _ *appFacts) { f.guess.v = "v3.9" }, "broker version", Warning, "v3.9"},
		{"a newer broker", func(f *facts, _ *appFacts) { f.guess.v = "at least v5.0" }, "broker version", OK, "v5.0"},
		{"no Apache Kafka", func(f *facts, _ *appFacts) { f.guess.v = "between v1.0 and v1.1" }, "broker version", Skipped, "no release"},
		{"the embedded broker", func(f *facts, _ *appFacts) { f.guess.v, f.node.Kafka.Embedded = "unknown custom version", true }, "broker version", OK, "embedded"},
		{"transactions v1", func(f *facts, _ *appFacts) { f.transactions.v = 1 }, "transaction.version", Warning, "kafka-features.sh --bootstrap-server kafka-1:9092 upgrade --feature transaction.version=2"},
		{"Kafka's back-off", func(f *facts, _ *appFacts) { f.settings.v[2]["add.partitions.to.txn.retry.backoff.ms"] = "20" }, "transaction back-off", Warning, "server.properties"},
		{"which broker", func(f *facts, _ *appFacts) { f.settings.v[2]["add.partitions.to.txn.retry.backoff.ms"] = "20" }, "transaction back-off", Warning, "on broker 2"},
		{"settings are secret", func(f *facts, _ *appFacts) {
			f.settings.err = denied
			f.settings.v[1]["offsets.retention.minutes"] = "60"
		}, "transaction back-off", Skipped, "--operation DescribeConfigs --cluster"},
		{"short-lived offsets", func(f *facts, _ *appFacts) { f.settings.v[1]["offsets.retention.minutes"] = "1440" }, "offsets retention", Warning, "broker 1"},
		{"two days of offsets", func(f *facts, _ *appFacts) { f.settings.v[1]["offsets.retention.minutes"] = "2880" }, "offsets retention", OK, "2880"},
		{"a slow clock", open(ongoing(-3 * time.Second)), "clock", Warning, "at least 3s behind"},
		{"a clock that is not slow", open(ongoing(time.Second)), "clock", Skipped, "not behind"},
		{"the node is cut off", func(f *facts, _ *appFacts) { f.node.Kafka.Error = "no route" }, "node", Error, "no route"},
		{"the node counts elsewhere", func(f *facts, _ *appFacts) { f.node.Kafka.ClusterID = "k2" }, "node", Error, "k2"},
		{"a lane is stopped", func(f *facts, _ *appFacts) {
			f.node.Apps[0].Lanes[1] = api.LaneStatus{Lane: 1, State: api.LaneStopped, Reason: "both numbers"}
		}, "lanes of wordcount", Error, "both numbers"},
		{"a lane restores", func(f *facts, _ *appFacts) { f.node.Apps[0].Lanes[1].State = api.LaneRestoring }, "lanes of wordcount", Warning, "lane 1 is restoring"},
		{"another node", func(f *facts, _ *appFacts) { f.node.Apps = nil }, "lanes of wordcount", Skipped, "does not run this app"},

		{"a read-only data dir", func(f *facts, _ *appFacts) { f.machine.writable = errors.New("read-only") }, "data dir", Error, "read-only"},
		{"a damaged identity", func(f *facts, _ *appFacts) { f.machine.identity = errors.New("bad") }, "data dir", Error, "rm /data/node.json"},
		{"another Kafka's broker", func(f *facts, _ *appFacts) { f.machine.embedded = "k9" }, "stored state", Warning, "k9"},
		{"a node that is not asked", func(f *facts, _ *appFacts) { f.node.Nodes[0].Pid = 1 }, "stored state", Skipped, "2 lanes of wordcount"},
		{"no stores", func(f *facts, _ *appFacts) { f.machine.stores = nil }, "stored state", OK, "none yet"},
		{"9 percent free", func(f *facts, _ *appFacts) { f.machine.free.v = 9 << 30 }, "free disk", Warning, "9%"},
		{"10 percent free", func(f *facts, _ *appFacts) { f.machine.free.v = 10 << 30 }, "free disk", OK, "10%"},
		{"2 percent free", func(f *facts, _ *appFacts) { f.machine.free.v = 2 << 30 }, "free disk", Warning, "2%"},
		{"a GiB free", func(f *facts, _ *appFacts) { f.machine.free.v, f.machine.size.v = 1<<30, 5<<30 }, "free disk", OK, "20%"},
		{"enough files", func(f *facts, _ *appFacts) { f.machine.files.v = 4096 }, "open files", OK, "4096"},
		{"1 percent free", func(f *facts, _ *appFacts) { f.machine.free.v = 1<<30 + 1 }, "free disk", Error, "1%"},
		{"less than a GiB free", func(f *facts, _ *appFacts) { f.machine.free.v, f.machine.size.v = 1<<30-1, 5<<30 }, "free disk", Error, "20%"},
		{"few files", func(f *facts, _ *appFacts) { f.machine.files.v = 1024 }, "open files", Warning, "the node with pid 4711 may have 1024"},
		{"no limit of files", func(f *facts, _ *appFacts) { f.machine.files.v = 1<<63 - 1 }, "open files", OK, "any number"},

		{"one replica", func(_ *facts, a *appFacts) { a.output.Replication = 1; set(&a.output, "min.insync.replicas", "1") }, "output output_event", Warning, "replication 1"},
		{"more in sync than there are", func(_ *facts, a *appFacts) { set(&a.output, "min.insync.replicas", "4") }, "output output_event", Error, "--add-config min.insync.replicas=2"},
		{"all must be in sync", func(_ *facts, a *appFacts) { set(&a.dead, "min.insync.replicas", "3") }, "dead letters wordcount.dead", Warning, "as many as"},
		{"one in sync is enough", func(_ *facts, a *appFacts) { set(&a.changelog, "min.insync.replicas", "1") }, "changelog wordcount.changelog", Warning, "one broker only"},
		{"unclean leaders", func(_ *facts, a *appFacts) { set(&a.changelog, "unclean.leader.election.enable", "true") }, "changelog wordcount.changelog", Warning, "unclean"},
		{"a changelog that forgets", func(_ *facts, a *appFacts) { set(&a.changelog, "cleanup.policy", "compact,delete") }, "changelog wordcount.changelog", Error, "--alter --topic wordcount.changelog --add-config cleanup.policy=compact"},
		{"a compacted output", func(_ *facts, a *appFacts) { set(&a.output, "cleanup.policy", "compact") }, "output output_event", Error, "output.key: group"},
		{"a compacted output of groups", func(_ *facts, a *appFacts) { a.KeyEvent = false; set(&a.output, "cleanup.policy", "compact") }, "output output_event", OK, "compact"},
		{"compacted dead letters", func(_ *facts, a *appFacts) { set(&a.dead, "cleanup.policy", "compact") }, "dead letters wordcount.dead", Error, "newest of a key"},
		{"a compacted input", func(_ *facts, a *appFacts) { set(&a.input, "cleanup.policy", "compact,delete") }, "input input_event", Warning, "recount"},
		{"few partitions of output", func(_ *facts, a *appFacts) { a.output.Partitions = 1 }, "output output_event", Error, "--partitions 2"},
		{"few partitions of changelog", func(_ *facts, a *appFacts) { a.changelog.Partitions = 1 }, "changelog wordcount.changelog", Warning, "next start"},
		{"few partitions of dead letters", func(_ *facts, a *appFacts) { a.dead.Partitions = 1 }, "dead letters wordcount.dead", Warning, "next start"},
		{"a small changelog record", func(_ *facts, a *appFacts) { set(&a.changelog, "max.message.bytes", "1114123") }, "changelog wordcount.changelog", Warning, "max.message.bytes=1114124"},
		{"a small dead letter", func(_ *facts, a *appFacts) { set(&a.dead, "max.message.bytes", "1000") }, "dead letters wordcount.dead", Warning, "max.message.bytes=1114124"},
		{"secret settings of a topic", func(_ *facts, a *appFacts) { a.output.Configs = nil }, "output output_event", Warning, "--operation DescribeConfigs"},
		{"a topic that does not answer", func(_ *facts, a *appFacts) { a.output.err = unanswered }, "output output_event", Skipped, "no answer"},
		{"a changelog that does not answer", func(_ *facts, a *appFacts) { a.changelog.err, a.changelog.there = unanswered, false }, "changelog wordcount.changelog", Skipped, "no answer"},
		{"one broker and one replica", func(f *facts, a *appFacts) {
			f.brokers.v = f.brokers.v[:1]
			for _, t := range a.topics() {
				t.Replication, t.Configs["min.insync.replicas"] = 1, "1"
			}
		}, "dead letters wordcount.dead", OK, "replication 1"},
		{"a limit that is not told", func(_ *facts, a *appFacts) { delete(a.input.Configs, "max.message.bytes") }, "dead letters wordcount.dead", OK, "1114124"},
		{"a topic that tally makes", func(_ *facts, a *appFacts) { a.dead.there = false }, "dead letters wordcount.dead", OK, "makes it"},
		{"a topic that tally may not make", func(_ *facts, a *appFacts) { a.dead.there, a.dead.create = false, denied }, "dead letters wordcount.dead", Error, "--operation Create --topic wordcount.dead"},

		{"a repartition topic that forgets", func(_ *facts, a *appFacts) { set(&a.repartition, "cleanup.policy", "compact") }, "repartition topic wordcount.repartition", Error, "--add-config cleanup.policy=delete"},
		{"a retention between the stages", func(_ *facts, a *appFacts) { set(&a.repartition, "retention.ms", "604800000") }, "repartition topic wordcount.repartition", Error, "--add-config retention.ms=-1"},
		{"a size between the stages", func(_ *facts, a *appFacts) { set(&a.repartition, "retention.bytes", "0") }, "repartition topic wordcount.repartition", Error, "--add-config retention.bytes=-1"},
		{"few partitions between the stages", func(_ *facts, a *appFacts) { a.repartition.Partitions = 1 }, "repartition topic wordcount.repartition", Error, "tally reset wordcount"},
		{"one replica between the stages", func(_ *facts, a *appFacts) {
			a.repartition.Replication = 1
			set(&a.repartition, "min.insync.replicas", "1")
		}, "repartition topic wordcount.repartition", Warning, "replication 1"},
		{"small records between the stages", func(_ *facts, a *appFacts) { set(&a.repartition, "max.message.bytes", "1000") }, "repartition topic wordcount.repartition", Warning, "max.message.bytes=1114124"},
		{"a repartition topic that tally may not make", func(_ *facts, a *appFacts) {
			a.repartition.there, a.repartition.create, a.second = false, denied, read{}
		}, "repartition topic wordcount.repartition", Error, "--operation Create --topic wordcount.repartition"},
		{"a lag between the stages", func(_ *facts, a *appFacts) { at(a.second.ends.v, 140) }, "positions of wordcount.repartition", OK, "100 offsets to count"},
		{"trimmed ahead", func(_ *facts, a *appFacts) { at(a.second.starts.v, 41) }, "positions of wordcount.repartition", Error, "the position is 40, and the repartition topic begins at 41"},
		{"partials that are gone", func(_ *facts, a *appFacts) { at(a.second.ends.v, 39) }, "positions of wordcount.repartition", Error, "the repartition topic ends at 39"},
		{"an offset beyond between the stages", func(_ *facts, a *appFacts) { at(a.second.offsets.v, 41) }, "positions of wordcount.repartition", Error, "offset 41 is beyond the position 40"},
		{"positions of the second stage cannot be read", func(_ *facts, a *appFacts) { a.second.positions.err = unanswered }, "positions of wordcount.repartition", Skipped, "no answer"},
		{"a repartition topic made again", func(_ *facts, a *appFacts) {
			pos := a.positions.v[0]
			pos.RepartitionTopicID = "id-2"
			a.positions.v[0] = pos
		}, "positions of wordcount", Error, "written for wordcount.repartition with the id id-2"},
		{"no right to trim", func(_ *facts, a *appFacts) { a.mayTrim = denied }, "trimming of wordcount.repartition", Warning, "--operation Delete --topic wordcount.repartition"},
		{"trimming is not told", func(_ *facts, a *appFacts) { a.mayTrim = unanswered }, "trimming of wordcount.repartition", Skipped, "no answer"},
		{"no right to write between the stages", func(_ *facts, a *appFacts) { a.repartition.rights = rightsOf(kafka.RightRead) }, "rights on wordcount.repartition", Error, "Write is missing"},

		{"a member", func(_ *facts, a *appFacts) { a.members.v = 1 }, "consumer group wordcount", Error, "1 member"},
		{"an input made again", func(_ *facts, a *appFacts) { a.input.ID = "id-2" }, "positions of wordcount", Error, "made again"},
		{"a changelog made again", func(_ *facts, a *appFacts) { a.changelog.ID = "id-2" }, "positions of wordcount", Error, "id-changelog"},
		{"a newer tally", func(_ *facts, a *appFacts) { a.positions.v[0] = position{newer: true, Input: 11} }, "positions of wordcount", Error, "newer tally"},
		{"an offset beyond", func(_ *facts, a *appFacts) { at(a.offsets.v, 12) }, "positions of wordcount", Error, "offset 12 is beyond the position 11"},
		{"an offset below", func(_ *facts, a *appFacts) { at(a.offsetsAfter.v, 10) }, "positions of wordcount", Error, "offset 10 is below the position 11"},
		{"an offset without a position", func(_ *facts, a *appFacts) { delete(a.positions.v, 0) }, "positions of wordcount", Error, "no position record"},
		{"a position without an offset", func(_ *facts, a *appFacts) { delete(a.offsets.v, 0); delete(a.offsetsAfter.v, 0) }, "positions of wordcount", OK, "2 position records"},
		{"a truncated input", func(_ *facts, a *appFacts) { at(a.ends.v, 9) }, "positions of wordcount", Error, "the input ends at 9"},
		{"a deleted input", func(_ *facts, a *appFacts) { at(a.starts.v, 12) }, "positions of wordcount", Error, "begins at 12"},
		{"a lag of half the retention", func(_ *facts, a *appFacts) { at(a.half.v, 12) }, "retention of input_event", Warning, "half of the retention of 7 days"},
		{"no events for half the retention", func(_ *facts, a *appFacts) { at(a.half.v, -1) }, "retention of input_event", Warning, "offset 11"},
		{"a lag of the retention", func(_ *facts, a *appFacts) { at(a.half.v, 14); at(a.expired.v, 12) }, "retention of input_event", Error, "retention.ms=-1"},
		{"an input that stays", func(_ *facts, a *appFacts) { set(&a.input, "retention.ms", "-1"); at(a.expired.v, 12) }, "retention of input_event", OK, "-1"},
		{"an input deleted up to the position", func(_ *facts, a *appFacts) { at(a.starts.v, 11) }, "positions of wordcount", OK, "19 offsets"},
		{"an input counted to its end", func(_ *facts, a *appFacts) { at(a.ends.v, 11) }, "positions of wordcount", OK, "0 offsets"},
		{"half the age is not told", func(_ *facts, a *appFacts) { a.half.err = unanswered }, "retention of input_event", Skipped, "no answer"},
		{"the age is not told", func(_ *facts, a *appFacts) { a.expired.err = unanswered }, "retention of input_event", Skipped, "no answer"},
		{"no retention is told", func(_ *facts, a *appFacts) { delete(a.input.Configs, "retention.ms") }, "retention of input_event", Skipped, "not known"},
		{"a retention of 0", func(_ *facts, a *appFacts) { set(&a.input, "retention.ms", "0") }, "retention of input_event", OK, "for 0s"},
		{"a retention of a day", func(_ *facts, a *appFacts) { set(&a.input, "retention.ms", "86400000") }, "retention of input_event", OK, "for 1 day,"},
		{"a retention of 36 hours", func(_ *facts, a *appFacts) { set(&a.input, "retention.ms", "129600000") }, "retention of input_event", OK, "36h"},
		{"an input without deletion", func(_ *facts, a *appFacts) {
			set(&a.input, "cleanup.policy", "compact")
			at(a.half.v, 12)
		}, "retention of input_event", OK, "nothing is deleted for its age"},
		{"a retention of bytes", func(_ *facts, a *appFacts) { set(&a.input, "retention.bytes", "1000") }, "retention of input_event", OK, "retention.bytes=1000"},
		{"a partition of unknown age", func(_ *facts, a *appFacts) { delete(a.half.v, 0) }, "retention of input_event", OK, "none of more"},
		{"positions cannot be read", func(_ *facts, a *appFacts) { a.starts.err = unanswered }, "positions of wordcount", Skipped, "no answer"},

		{"a transaction in time", open(ongoing(20 * time.Second)), "transactions of wordcount", OK, "within their time"},
		{"a transaction over its time", open(ongoing(time.Minute)), "transactions of wordcount", Error, "abort --topic output_event --partition 1 --start-offset 77"},
		{"whose", open(ongoing(time.Minute)), "transactions of wordcount", Error, `"wordcount.lane-0" (producer 12) is open on output_event/1 from offset 77 since 2026-11-25 11:59:00.000Z, for 1m0s`},
		{"a transaction that ends", open(&kafka.Transaction{State: "PrepareCommit"}), "transactions of wordcount", OK, ""},
		{"a forgotten transaction", open(&kafka.Transaction{State: "CompleteAbort"}), "transactions of wordcount", Error, "never end by itself"},
		{"one of another partition", open(&kafka.Transaction{State: "Ongoing", StartMs: noon.UnixMilli(), TimeoutMs: 10_000}), "transactions of wordcount", Error, "does not know of it"},
		{"nobody's transaction", open(nil), "transactions of wordcount", Warning, "unknown to Kafka"},
		{"nobody's old transaction", func(f *facts, a *appFacts) {
			open(nil)(f, a)
			a.open.v[0].LastMs = noon.Add(-16 * time.Minute).UnixMilli()
		}, "transactions of wordcount", Error, "producer 12"},
		{"a topic not to be read", func(_ *facts, a *appFacts) { a.unseen = []string{"output_event"} }, "transactions of wordcount", OK, "not looked at"},

		{"no right to read", func(_ *facts, a *appFacts) { a.input.rights = rightsOf(kafka.RightDescribeConfigs) }, "rights on input_event", Error, "--operation Read --topic input_event"},
		{"no right to settings", func(_ *facts, a *appFacts) { a.input.rights = rightsOf(kafka.RightRead) }, "rights on input_event", Warning, "DescribeConfigs"},
		{"no right to write", func(_ *facts, a *appFacts) { a.changelog.rights = rightsOf(kafka.RightRead) }, "rights on wordcount.changelog", Error, "Write is missing"},
		{"no right to write dead letters", func(_ *facts, a *appFacts) { a.dead.rights.v = 0 }, "rights on wordcount.dead", Error, "Write is missing"},
		{"rights are not told", func(_ *facts, a *appFacts) { a.output.known = false }, "rights on output_event", Skipped, "not checked"},
		{"no right to the group", func(_ *facts, a *appFacts) { a.mayOffsets = denied }, "rights on group wordcount", Error, "--operation Read --group wordcount"},
		{"the group does not answer", func(_ *facts, a *appFacts) { a.mayOffsets = unanswered }, "rights on group wordcount", Skipped, "no answer"},
		{"no right to transactions", func(_ *facts, a *appFacts) { a.mayTransact = denied }, "rights on transactions", Error, "--transactional-id wordcount.lane- --resource-pattern-type prefixed"},
	}
}

// Each wrong is told by the one check that is for it, and by no other.
func TestEachWrongIsToldOnce(t *testing.T) {
	calm := map[string]Result{}
	for _, c := range judge(good()) {
		calm[c.Name] = c.Result
		if c.Result != OK && c.Name != "clock" {
			t.Errorf("all is well, and %s is %s: %s", c.Name, c.Result, c.Found)
		}
	}
	// A wrong that two checks tell, since each matters for itself.
	pairs := []string{"a slow clock", "an input without deletion"}
	for _, w := range wrongs() {
		t.Run(w.what, func(t *testing.T) {
			f := good()
			w.change(f, f.apps[0])
			found := map[string][]Check{}
			for _, c := range judge(f) {
				found[c.Name] = append(found[c.Name], c)
				bad := c.Result == Error || c.Result == Warning
				if c.Name != w.check && bad && !slices.Contains(pairs, w.what) && c.Result != calm[c.Name] {
					t.Errorf("%s tells it too: %s %s", c.Name, c.Result, c.Found)
				}
			}
			want(t, found, w.check, w.result, w.says)
		})
	}
}

// Every check that is made has a wrong that it tells, or it need not be made.
func TestEveryCheckHasAWrong(t *testing.T) {
	for _, c := range judge(good()) {
		if !slices.ContainsFunc(wrongs(), func(w wrong) bool { return w.check == c.Name && w.result != OK }) {
			t.Errorf("nothing shows what %s finds", c.Name)
		}
	}
}

func TestMissingTopics(t *testing.T) {
	f := good()
	a := f.apps[0]
	a.input, a.changelog = topic{role: "input", Topic: kafka.Topic{Name: "input_event"}}, topic{role: "changelog", Topic: kafka.Topic{Name: "wordcount.changelog"}}
	a.positions.v = nil
	found := map[string][]Check{}
	for _, c := range judge(f) {
		found[c.Name] = append(found[c.Name], c)
	}
	want(t, found, "input input_event", Error, "--create --topic input_event")
	want(t, found, "changelog wordcount.changelog", OK)
	want(t, found, "positions of wordcount", Skipped)
	want(t, found, "retention of input_event", Skipped)

	f = good()
	f.apps[0].changelog.there, f.apps[0].positions.v = false, nil
	if c := checkPositions(f, f.apps[0]); c.Result != Error || !strings.Contains(c.Found, "there is no changelog") {
		t.Errorf("offsets without a changelog: %+v", c)
	}
}

// What is deleted already is told with the positions, and once.
func TestRetentionLeavesTheDeleted(t *testing.T) {
	f := good()
	a := f.apps[0]
	a.starts.v[0], a.half.v[0], a.expired.v[0] = 12, 12, 12
	if c := checkRetention(f, a); c.Result != OK {
		t.Errorf("%+v", c)
	}
	if c := checkPositions(f, a); c.Result != Error {
		t.Errorf("%+v", c)
	}
	a.starts.v[0] = 11
	if c := checkRetention(f, a); c.Result != Error {
		t.Errorf("%+v", c)
	}
	a.positions.err = errors.New("no answer")
	if c := checkRetention(f, a); c.Result != Skipped {
		t.Errorf("%+v", c)
	}
}

// TestReports compares what people and programs see; -rewrite writes it anew.
func TestReports(t *testing.T) {
	datadriven.RunTest(t, "testdata/reports", func(t *testing.T, d *datadriven.TestData) string {
		f := good()
		alone := d.HasArg("alone")
		for _, arg := range d.CmdArgs {
			i := slices.IndexFunc(wrongs(), func(w wrong) bool { return strings.ReplaceAll(w.what, " ", "-") == arg.Key })
			if i < 0 && arg.Key != "alone" {
				d.Fatalf(t, "there is no %q", arg.Key)
			}
			if i >= 0 {
				wrongs()[i].change(f, f.apps[0])
			}
		}
		if alone {
			f.apps, f.node = nil, nil
		}
		var b strings.Builder
		report := newReport(judge(f))
		write := report.WriteText
		if d.Cmd == "json" {
			write = report.WriteJSON
		}
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String() + fmt.Sprintf("healthy %v, strictly %v\n", report.Healthy(false), report.Healthy(true))
	})
}
