package peers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/kafka"
)

// StreamsVersion is the Kafka Streams that pom.xml names.
const StreamsVersion = "4.3.1"

// Streams is Kafka Streams: the DSL as a user writes it, or the form of an expert.
type Streams struct {
	Cache  string // a directory
	Expert bool
}

func (s Streams) Name() string {
	if s.Expert {
		return "kafka-streams-tuned"
	}
	return "kafka-streams"
}

func (s Streams) dir() string     { return filepath.Join(s.Cache, "kafka-streams-"+StreamsVersion) }
func (s Streams) jars() string    { return filepath.Join(s.dir(), "jars") }
func (s Streams) classes() string { return filepath.Join(s.dir(), "classes") }

// Install fetches the jars once and compiles the program each time, which takes two seconds.
func (s Streams) Install(ctx context.Context) error {
	src := filepath.Join(s.dir(), "src")
	if err := unpack("kafka-streams", src); err != nil {
		return err
	}
	if err := fetchJars(ctx, filepath.Join(src, "pom.xml"), s.jars()); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(src, "*.java"))
	if err != nil {
		return err
	}
	args := append([]string{"-nowarn", "-d", s.classes(), "-cp", filepath.Join(s.jars(), "*")}, files...)
	return run(ctx, "", "javac", args...)
}

func (s Streams) jvm() []string {
	if s.Expert {
		return []string{"-Xms2g", "-Xmx2g", "-XX:+UseParallelGC"}
	}
	return []string{"-Xmx1g"}
}

// manyGroups are so many that an expert gives the heap more: 2 GB ran out with 5 million, whose
// caches hold objects.
const manyGroups = 2_000_000

func (s Streams) heap(groups int) []string {
	if s.Expert && groups >= manyGroups {
		return []string{"-Xms6g", "-Xmx6g", "-XX:+UseParallelGC"}
	}
	return s.jvm()
}

func (s Streams) moreHeap() string {
	if !s.Expert {
		return ""
	}
	return fmt.Sprintf("; with %d groups or more %s", manyGroups, strings.Join(s.heap(manyGroups), " "))
}

func (s Streams) form() string {
	if s.Expert {
		return "expert"
	}
	return "dsl"
}

func (s Streams) SaysRunning() bool { return true }

func (s Streams) ExactlyOnce() bool { return true }

func (s Streams) Command(j Job) (*exec.Cmd, error) { return s.CommandWith(j, nil) }

// CommandWith is Command with more of Kafka Streams' settings, which win; an empty one takes a
// setting away.
func (s Streams) CommandWith(j Job, more map[string]string) (*exec.Cmd, error) {
	settings := s.settings()
	maps.Copy(settings, map[string]string{
		"num.stream.threads": fmt.Sprint(bench.Threads(j.Workload.Partitions)),
		"job.in":             j.In, "job.out": j.Out(), "job.words": fmt.Sprint(j.Workload.Words > 0), "job.byword": fmt.Sprint(j.Workload.ByWord),
		"application.id": j.App, "bootstrap.servers": j.brokers(), "state.dir": filepath.Join(j.Dir, "state"),
		"commit.interval.ms": fmt.Sprint(j.Interval.Milliseconds()),
	})
	maps.Copy(settings, more)
	maps.DeleteFunc(settings, func(_, value string) bool { return value == "" })
	if j.Workload.ByWord {
		settings["topic.segment.bytes"] = fmt.Sprint(1 << 30) // what goes between the stages is measured
	}
	file := filepath.Join(j.Dir, "streams.properties")
	if err := os.WriteFile(file, []byte(strings.Join(lines(settings), "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	tmpdir, err := j.tmpdir()
	if err != nil {
		return nil, err
	}
	args := append(s.heap(j.Workload.GroupsMost()), tmpdir, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", s.classes()+":"+filepath.Join(s.jars(), "*"), "Count", s.form(), file)
	return exec.Command("java", args...), nil
}

func (s Streams) settings() map[string]string {
	settings := map[string]string{
		"processing.guarantee":       "exactly_once_v2",
		"consumer.auto.offset.reset": "earliest",
	}
	if !s.Expert {
		return settings
	}
	maps.Copy(settings, map[string]string{
		"rocksdb.config.setter":                      "TunedRocksDB",
		"statestore.cache.max.bytes":                 "536870912",
		"producer.compression.type":                  "lz4",
		"producer.batch.size":                        "262144",
		"producer.linger.ms":                         "20",
		"producer.buffer.memory":                     "134217728",
		"producer.max.request.size":                  "4194304",
		"consumer.max.poll.records":                  "10000",
		"consumer.max.partition.fetch.bytes":         "4194304",
		"consumer.fetch.max.bytes":                   "16777216",
		"buffered.records.per.partition":             "20000",
		"restore.consumer.max.poll.records":          "50000",
		"restore.consumer.fetch.max.bytes":           "33554432",
		"restore.consumer.receive.buffer.bytes":      "1048576",
		"max.partition.fetch.bytes":                  "8388608",
		"consumer.group.instance.id":                 "one", // a restart is no new member
		"consumer.session.timeout.ms":                "10000",
		"topology.optimization":                      "all",
		"restore.consumer.max.partition.fetch.bytes": "8388608",
	})
	return settings
}

// Position has also gone through the repartition topic, where there is one.
func (s Streams) Position(ctx context.Context, admin *kafka.Admin, j Job) (map[int32]int64, error) {
	at, err := groupPosition(ctx, admin, j)
	if err != nil || s.Expert || j.Workload.Words == 0 {
		return at, err
	}
	topic := j.App + "-counts-repartition"
	ends, err := admin.EndOffsets(ctx, topic, true)
	if err != nil {
		return at, nil // it is not made yet
	}
	second, err := admin.SettledOffsets(ctx, j.App, topic, slices.Collect(maps.Keys(ends))...)
	if err != nil {
		return nil, err
	}
	for p, end := range ends {
		if second[p] < end {
			return nil, nil
		}
	}
	return at, nil
}

func (Streams) Adds() bool { return false }

func (s Streams) State(j Job) string { return filepath.Join(j.Dir, "state") }

func (s Streams) Settings() []string {
	all := append(lines(s.settings()), threadsText("num.stream.threads"), "JVM "+strings.Join(s.jvm(), " ")+s.moreHeap(), "commit.interval.ms as the row says", "topic.segment.bytes=1073741824 in (w), so that what goes between the stages can be measured")
	if s.Expert {
		all = append(all, "Processor API, no repartition topic, record cache", tunedRocksDB())
	}
	return all
}

// tunedRocksDB is what the expert's stores are told, as the program has it.
func tunedRocksDB() string {
	text, err := sources.ReadFile("kafka-streams/TunedRocksDB.java")
	if err != nil {
		panic(fmt.Sprintf("peers: %v", err)) // it is embedded
	}
	_, class, _ := strings.Cut(string(text), "public final ")
	return strings.TrimSpace(class)
}

func lines(settings map[string]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		all = append(all, name+"="+settings[name])
	}
	return all
}
