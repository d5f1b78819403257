package broker

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfake's compaction looks past the last stable offset: a record of an open transaction displaces
// the committed one of its key, and when the transaction is aborted the key is lost. So kfake's own
// timer is put off for ever, and compaction runs here, at moments when no transaction is open: new
// ones wait for it, and those that are open are let end. What else touches partitions waits while
// it rewrites them, so that it can be undone as if it had never been.

const (
	tidyEvery       = 5 * time.Minute
	tidyNever       = "315360000000"  // ms: ten years
	compactGrowth   = 64 << 20        // compact when so much was written since, and the size has doubled
	compactPatience = 2 * time.Second // for open transactions to end
	settingPatience = 5 * time.Second // for the broker's own answer
)

// tidier keeps the data dir from growing without end.
type tidier struct {
	cluster *kfake.Cluster
	dir     dir
	addr    string // of the cluster
	seam    seam.Seam
	log     *slog.Logger
	faults  *brokerLog // is told of what kfake could not write
	gate    gate
	wait    time.Duration // for open transactions to end
	last    int64         // bytes of compacted topics after the last compaction
}

// tidy applies retention, and compacts when it is worth it. After an error the broker must end,
// with its mark of running and that of the compaction: the next start undoes what was half done.
func (t *tidier) tidy() error {
	t.expire()
	if size, _ := t.compacted(); size < 2*t.last+compactGrowth {
		return nil
	}
	_, err := t.compact()
	return err
}

// compact says whether it compacted. After an error its gate stays sealed.
func (t *tidier) compact() (bool, error) {
	t.gate.shut()
	if !t.sealWhenQuiet() {
		t.gate.open()
		return false, nil
	}
	if err := t.dir.keep(t.compactedPartitions()); err != nil {
		err = errors.Join(err, t.dir.forget())
		t.log.Warn("the compacted topics are not compacted, and grow", "error", err)
		t.gate.open()
		return false, nil
	}
	if err := t.rewrite(); err != nil {
		return false, err
	}
	t.last, _ = t.compacted()
	t.gate.setStarts(t.starts())
	t.gate.open()
	return true, nil
}

// sealWhenQuiet waits for a moment without open transactions; new ones wait meanwhile.
func (t *tidier) sealWhenQuiet() bool {
	for deadline := t.seam.Now().Add(t.wait); ; {
		if _, quiet := t.compacted(); quiet {
			t.gate.seal(true)
			// kfake does one thing at a time: what was let in before has been done when it answers.
			if _, quiet := t.compacted(); quiet {
				return true
			}
			t.gate.seal(false)
		}
		if t.seam.Now().After(deadline) {
			return false
		}
		c, stop := t.seam.Timer(2 * time.Millisecond)
		<-c
		stop()
	}
}

// rewrite has kfake compact, without its retention, which belongs to that.
func (t *tidier) rewrite() error {
	retained := t.retained()
	t.faults.reset()
	if err := t.retain(retained, func(string) string { return "-1" }); err != nil {
		return err
	}
	t.cluster.Compact()
	err := t.retain(retained, func(own string) string { return own })
	if err := errors.Join(t.faults.fault(), err); err != nil {
		return err
	}
	return t.dir.forget()
}

// retained are the topics' own settings that would have kfake delete records, by topic and name.
func (t *tidier) retained() map[string]map[string]string {
	all := map[string]map[string]string{}
	for topic := range t.topics() {
		info := t.cluster.TopicInfo(topic)
		if info == nil {
			continue
		}
		for _, name := range []string{"retention.ms", "retention.bytes"} {
			if setting(info, name, -1) >= 0 {
				if all[topic] == nil {
					all[topic] = map[string]string{}
				}
				all[topic][name] = *info.Configs[name]
			}
		}
	}
	return all
}

// retain sets these settings of topics to what value makes of them.
func (t *tidier) retain(all map[string]map[string]string, value func(own string) string) error {
	if len(all) == 0 {
		return nil
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for topic, own := range all {
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		for name, v := range own {
			c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			c.Name, c.Op, c.Value = name, kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr(value(v))
			r.Configs = append(r.Configs, c)
		}
		req.Resources = append(req.Resources, r)
	}
	cl, err := kafka.Config{Brokers: []string{t.addr}, Seam: t.seam}.Client()
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), settingPatience)
	defer cancel()
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return err
		}
	}
	return nil
}

// starts are the first offsets of all partitions of compacted topics.
func (t *tidier) starts() map[partition]int64 {
	starts := map[partition]int64{}
	for topic := range t.topics() {
		info := t.cluster.TopicInfo(topic)
		if !isCompacted(info) {
			continue
		}
		for _, p := range t.cluster.PartitionInfos(topic) {
			starts[partition{info.TopicID, p.Partition}] = p.LogStartOffset
			starts[partition{topic, p.Partition}] = p.LogStartOffset
		}
	}
	return starts
}

func isCompacted(info *kfake.TopicInfo) bool {
	if info == nil {
		return false
	}
	policy := info.Configs["cleanup.policy"]
	return policy != nil && strings.Contains(*policy, "compact")
}

// compacted is the size of all compacted topics, and whether none has an open transaction.
func (t *tidier) compacted() (bytes int64, quiet bool) {
	quiet = true
	for topic := range t.topics() {
		if !isCompacted(t.cluster.TopicInfo(topic)) {
			continue
		}
		for _, p := range t.cluster.PartitionInfos(topic) {
			bytes += p.NumBytes
			quiet = quiet && p.LastStableOffset == p.HighWatermark
		}
	}
	return bytes, quiet
}

// compactedPartitions are the directories of all partitions of compacted topics that have data.
func (t *tidier) compactedPartitions() (paths []string) {
	for topic := range t.topics() {
		if !isCompacted(t.cluster.TopicInfo(topic)) {
			continue
		}
		for _, p := range t.cluster.PartitionInfos(topic) {
			path := t.dir.partitionDir(topic, p.Partition)
			if _, err := os.Stat(path); err == nil {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// topics are those that have data: kfake lists none, but has a directory for each partition.
func (t *tidier) topics() map[string]bool {
	topics := map[string]bool{}
	entries, _ := os.ReadDir(t.dir.partitions())
	for _, e := range entries {
		if i := strings.LastIndexByte(e.Name(), '-'); i > 0 {
			if name, err := url.PathUnescape(e.Name()[:i]); err == nil {
				topics[name] = true
			}
		}
	}
	return topics
}

// keepCompacted gives each new compacted topic endless retention, as what is said of it: nothing is
// deleted from one for its age or size.
func keepCompacted(kreq kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
	if req, ok := kreq.(*kmsg.CreateTopicsRequest); ok {
		for i := range req.Topics {
			t := &req.Topics[i]
			if isCompactOnly(t.Configs) {
				t.Configs = append(t.Configs, endless("retention.ms"), endless("retention.bytes"))
			}
		}
	}
	return nil, nil, false
}

func isCompactOnly(configs []kmsg.CreateTopicsRequestTopicConfig) bool {
	for _, c := range configs {
		if c.Name == "cleanup.policy" && c.Value != nil {
			return *c.Value == "compact"
		}
	}
	return false
}

func endless(name string) kmsg.CreateTopicsRequestTopicConfig {
	v := "-1"
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = name, &v
	return c
}
