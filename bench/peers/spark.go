package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/kafka"
)

// SparkVersion is the newest PySpark whose Kafka connector Maven Central serves; pom.xml and
// requirements.txt name the same.
const SparkVersion = "4.2.0"

// Spark is PySpark Structured Streaming.
type Spark struct {
	Cache    string
	BatchMax int  // events of a micro-batch; 0: all that wait
	RealTime bool // real-time mode instead of micro-batches; its batches last an interval
}

func (s Spark) Name() string {
	switch {
	case s.RealTime:
		return "pyspark-realtime"
	case s.BatchMax > 0:
		return fmt.Sprintf("pyspark-%dk", s.BatchMax/1000)
	}
	return "pyspark"
}

func (s Spark) dir() string  { return filepath.Join(s.Cache, "pyspark-"+SparkVersion) }
func (s Spark) jars() string { return filepath.Join(s.dir(), "jars") }
func (s Spark) python() string {
	return filepath.Join(s.dir(), "venv", "bin", "python")
}

// Install makes a virtual environment and fetches the connector, once.
func (s Spark) Install(ctx context.Context) error {
	src := filepath.Join(s.dir(), "src")
	if err := unpack("pyspark", src); err != nil {
		return err
	}
	if err := fetchJars(ctx, filepath.Join(src, "pom.xml"), s.jars()); err != nil {
		return err
	}
	done := filepath.Join(s.dir(), "installed")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := run(ctx, "", "python3", "-m", "venv", filepath.Join(s.dir(), "venv")); err != nil {
		return err
	}
	if err := run(ctx, "", s.python(), "-m", "pip", "install", "-q", "-r", filepath.Join(src, "requirements.txt")); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}

func (s Spark) SaysRunning() bool { return true }

// ExactlyOnce is true of the state alone: the sink to Kafka is at-least-once.
func (s Spark) ExactlyOnce() bool { return false }

// connector are the jars that PySpark lacks; the rest of what Maven brings it has itself.
func (s Spark) connector() (string, error) {
	var found []string
	for _, pattern := range []string{"spark-sql-kafka-*", "spark-token-provider-kafka-*", "kafka-clients-*", "commons-pool2-*"} {
		jar, err := filepath.Glob(filepath.Join(s.jars(), pattern+".jar"))
		if err != nil {
			return "", err
		}
		if len(jar) != 1 {
			return "", fmt.Errorf("%d jars %s in %s, not one: remove that folder, so that it is fetched again", len(jar), pattern, s.jars())
		}
		found = append(found, jar...)
	}
	return strings.Join(found, ","), nil
}

// sparkJob is what count.py reads.
type sparkJob struct {
	Brokers    string            `json:"brokers"`
	In         string            `json:"in"`
	Out        string            `json:"out"`
	Words      bool              `json:"words"`
	Checkpoint string            `json:"checkpoint"`
	Trigger    map[string]string `json:"trigger"`
	Source     map[string]string `json:"source"`
	Sink       map[string]string `json:"sink"`
	Spark      map[string]string `json:"spark"`
}

func (s Spark) Command(j Job) (*exec.Cmd, error) {
	jars, err := s.connector()
	if err != nil {
		return nil, err
	}
	settings := s.session(j.Workload.Partitions)
	settings["spark.jars"] = jars
	if settings["spark.driver.extraJavaOptions"], err = j.tmpdir(); err != nil {
		return nil, err
	}
	settings["spark.local.dir"] = filepath.Join(j.Dir, "tmp")
	job := sparkJob{
		Brokers: j.brokers(), In: j.In, Out: j.Out(), Words: j.Workload.Words > 0, Checkpoint: s.checkpoint(j),
		Trigger: map[string]string{"processingTime": "0 seconds"}, Source: s.source(), Sink: s.sink(), Spark: settings,
	}
	if s.RealTime {
		job.Trigger = map[string]string{"realTime": fmt.Sprintf("%d milliseconds", j.Interval.Milliseconds())}
		settings["spark.sql.streaming.realTimeMode.minBatchDuration"] = fmt.Sprintf("%dms", j.Interval.Milliseconds())
	}
	text, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(j.Dir, "job.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	return exec.Command(s.python(), filepath.Join(s.dir(), "src", "count.py"), file), nil
}

func (s Spark) checkpoint(j Job) string { return filepath.Join(j.Dir, "checkpoint") }

func (s Spark) session(partitions int) map[string]string {
	threads := bench.Threads(partitions)
	if s.RealTime {
		threads = 2 * partitions // real-time mode keeps a task of each stage running
	}
	settings := map[string]string{
		"spark.master":                                 fmt.Sprintf("local[%d]", threads),
		"spark.driver.memory":                          "2g",
		"spark.sql.shuffle.partitions":                 strconv.Itoa(partitions),
		"spark.ui.enabled":                             "false",
		"spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
		"spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
		"spark.sql.streaming.noDataMicroBatches.enabled":                        "false",
		"spark.sql.streaming.numRecentProgressUpdates":                          "1",
		"spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows":         "false",
	}
	if s.RealTime {
		// An aggregation is not among what real-time mode of 4.2.0 vouches for: its second stage
		// begins when the batch ends, so that the batches must be short.
		settings["spark.sql.streaming.realTimeMode.allowlistCheck"] = "false"
	}
	return settings
}

func (s Spark) source() map[string]string {
	source := map[string]string{"kafka.max.poll.records": "10000"}
	if s.BatchMax > 0 {
		source["maxOffsetsPerTrigger"] = strconv.Itoa(s.BatchMax)
	}
	return source
}

func (s Spark) sink() map[string]string {
	sink := map[string]string{"kafka.compression.type": "lz4", "kafka.batch.size": "262144"}
	if !s.RealTime {
		sink["kafka.linger.ms"] = "20"
	}
	return sink
}

// Position is the end of the last batch that was committed, from the checkpoint: Spark commits
// nothing to Kafka.
func (s Spark) Position(_ context.Context, _ *kafka.Admin, j Job) (map[int32]int64, error) {
	commits, err := os.ReadDir(filepath.Join(s.checkpoint(j), "commits"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	last := -1
	for _, c := range commits {
		if n, err := strconv.Atoi(c.Name()); err == nil {
			last = max(last, n)
		}
	}
	if last < 0 {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(s.checkpoint(j), "offsets", strconv.Itoa(last)))
	if err != nil {
		return nil, err
	}
	return sparkOffsets(text, j.In)
}

// sparkOffsets reads the last line of an offsets file: a JSON object of topics.
func sparkOffsets(text []byte, topic string) (map[int32]int64, error) {
	text = bytes.TrimSpace(text)
	line := text[bytes.LastIndexByte(text, '\n')+1:]
	var topics map[string]map[int32]int64
	if err := json.Unmarshal(line, &topics); err != nil {
		return nil, fmt.Errorf("offsets of Spark %q: %w", line, err)
	}
	return topics[topic], nil
}

func (Spark) Adds() bool { return false }

// State is nothing: the checkpoint is Spark's only copy.
func (s Spark) State(Job) string { return "" }

func (s Spark) Settings() []string {
	settings := s.session(1)
	settings["spark.sql.shuffle.partitions"] = "the input's partitions"
	settings["spark.master"] = "local[" + threadsText("threads") + "]"
	if s.RealTime {
		settings["spark.master"] = "local[twice the input's partitions]"
	}
	all := lines(settings)
	for name, value := range s.source() {
		all = append(all, "source "+name+"="+value)
	}
	all = append(all, "source startingOffsets=earliest", "spark.local.dir and java.io.tmpdir: folders of the run")
	if s.RealTime {
		all = append(all, "minBatchDuration and the trigger's duration: the commit interval of the row")
	} else {
		all = append(all, "trigger processingTime=0 seconds: a batch behind the other")
	}
	return append(append(all, prefixed("sink ", lines(s.sink()))...), "outputMode update; the sink to Kafka is at-least-once")
}

func prefixed(with string, all []string) []string {
	var out []string
	for _, one := range all {
		out = append(out, with+one)
	}
	return out
}
