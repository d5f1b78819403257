package doctor

import (
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
)

// answer is a fact, or why it is not known.
type answer[T any] struct {
	v   T
	err error
}

// facts are all that the checks judge.
type facts struct {
	now      time.Time
	commands commands

	clusterID    answer[string]
	brokers      answer[[]kafka.Broker]
	guess        answer[string]          // of Kafka's version
	requests     answer[map[int16]int16] // newest version of each request, by its key
	transactions answer[int16]           // transaction.version
	settings     answer[map[int32]map[string]string]

	node    *api.Status // nil: none was asked
	machine machine
	apps    []*appFacts
}

// topic is one of an app's topics.
type topic struct {
	kafka.Topic
	role   string // as people call it: input, output, changelog, dead letters, repartition topic
	there  bool
	err    error         // it could not be described
	needs  []kafka.Right // what tally does with it
	rights answer[kafka.Rights]
	known  bool  // whether Kafka says the rights
	create error // of one that is not there: what hinders its creation
}

// appFacts are the facts of one app.
type appFacts struct {
	App
	input, output, changelog, dead topic

	members       answer[int]
	offsets       answer[map[int32]int64] // of the consumer group, read before the positions
	offsetsAfter  answer[map[int32]int64] // and after them
	positions     answer[map[int32]position]
	starts, ends  answer[map[int32]int64] // of the input; ends counts all records, read after the positions
	half, expired answer[map[int32]int64] // first offsets younger than half of, and the whole of, the retention
	open          answer[[]openTransaction]
	askedAt       time.Time // after the coordinators told of the open transactions
	unseen        []string  // topics whose transactions this user may not list
	mayOffsets    error
	mayTransact   error
	transactedAs  string // the transactional ids that were tried, or the one of them that is denied

	// Of an app of two stages.
	repartitions int // partitions that the groups are spread over; 0: one stage
	repartition  topic
	second       read // of the repartition topic
	mayTrim      error
}

// read is how far the app has read a topic, and what there is to read.
type read struct {
	offsets, offsetsAfter answer[map[int32]int64] // of the consumer group, before and after the positions
	positions             answer[map[int32]position]
	starts, ends          answer[map[int32]int64]
}

// first is what the app reads of its input.
func (a *appFacts) first() read {
	return read{a.offsets, a.offsetsAfter, a.positions, a.starts, a.ends}
}

// topics are those that the app has, in the order in which events pass them.
func (a *appFacts) topics() []*topic {
	list := []*topic{&a.input}
	if a.Output != "" {
		list = append(list, &a.output)
	}
	list = append(list, &a.changelog)
	if a.DeadLetters {
		list = append(list, &a.dead)
	}
	if a.repartitions > 0 {
		list = append(list, &a.repartition)
	}
	return list
}

// counted is the number of partitions that the counters are spread over.
func (a *appFacts) counted() int {
	if a.repartitions > 0 {
		return a.repartitions
	}
	return a.input.Partitions
}

// position is what a position record says, as far as it is judged here.
type position struct {
	InputTopicID     string `json:"input_topic_id"`
	ChangelogTopicID string `json:"changelog_topic_id"`
	Input            int64  `json:"input"` // next input offset
	NodeName         string `json:"node_name"`
	AtMs             int64  `json:"at_ms"`
	Lanes            int    `json:"lanes"`

	Repartitions       int    `json:"repartitions,omitempty"`
	RepartitionTopicID string `json:"repartition_topic_id,omitempty"`

	newer bool // of a format that this build does not know
}

// openTransaction is an open transaction with what its coordinator says of it.
type openTransaction struct {
	kafka.OpenTransaction
	id    string             // "": not found, or not for this user to see
	state *kafka.Transaction // nil: its coordinator does not say
}

// commands writes command lines that reach the same Kafka.
type commands struct {
	brokers    []string
	configFile string
}

// line is a command line of one of Kafka's own tools.
func (c commands) line(tool, args string) string {
	text := tool + ".sh --bootstrap-server " + strings.Join(c.brokers, ",")
	if c.configFile != "" {
		text += " --command-config " + c.configFile
	}
	return text + " " + args
}

func (c commands) setTopic(topic, setting string) string {
	return c.line("kafka-configs", "--alter --topic "+topic+" --add-config "+setting)
}

func (c commands) allow(operation, resource string) string {
	return c.line("kafka-acls", "--add --allow-principal User:NAME --operation "+operation+" "+resource)
}

// notKnown is the check of a fact that could not be found out.
func notKnown(f *facts, name string, err error, operation, resource string) Check {
	c := Check{Name: name, Result: Skipped, Found: "not checked: " + err.Error()}
	if kafka.Denied(err) && operation != "" {
		c.Mend = f.commands.allow(operation, resource)
	}
	return c
}
