package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestNamedKafka says that on a Kafka which is named, here by --kafka-config alone, a demo runs to
// its end, and that neither topic nor consumer group of it stays there: not where it was stopped
// during the submit either, whether the cluster has the app by then or not.
func TestNamedKafka(t *testing.T) {
	binary := buildTally(t)
	t.Run("to its end", func(t *testing.T) {
		k := newNamed(t)
		out, err := k.run(t.Context(), binary)
		if err != nil || !strings.HasSuffix(out.String(), ", 0 differences\n") {
			t.Fatalf("%v\n%s", err, out)
		}
		k.checkNothingLeft(t, appOf(out))
	})
	t.Run("stopped after the submit", func(t *testing.T) {
		k := newNamed(t)
		k.stopInSubmit(t, binary, binary+` "$@"`, func(app string) {
			k.await(t, func(topics []string) bool { return slices.Contains(topics, app+".changelog") })
		})
	})
	t.Run("stopped before the submit", func(t *testing.T) {
		k := newNamed(t)
		k.stopInSubmit(t, binary, ":", func(app string) { k.makeLate(t, app) })
	})
}

// named is a Kafka in memory, and a file that names it.
type named struct {
	cfg   kafka.Config
	admin *kafka.Admin
	file  string
}

func newNamed(t *testing.T) *named {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k := &named{cfg: kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}, file: filepath.Join(t.TempDir(), "client.properties")}
	if err := os.WriteFile(k.file, []byte("bootstrap.servers="+c.ListenAddrs()[0]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k.admin, err = kafka.NewAdmin(k.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.admin.Close)
	return k
}

func (k *named) run(ctx context.Context, binary string) (*screen, error) {
	out := &screen{}
	return out, k.show(ctx, binary, out)
}

func (k *named) show(ctx context.Context, binary string, out *screen) error {
	return Run(ctx, Options{
		Binary: binary, KafkaConfig: k.file, Out: out, Err: out, Seam: seam.World(), Listen: "127.0.0.1:0", Events: 3000, PerSecond: 1000,
	})
}

// stopInSubmit runs a demo whose submit does what is said and then never ends, does meanwhile what
// is wanted with the app's name, and stops it.
func (k *named) stopInSubmit(t *testing.T, binary, submit string, meanwhile func(app string)) {
	dir := t.TempDir()
	held, mark := filepath.Join(dir, "tally"), filepath.Join(dir, "held")
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = submit ]; then\n\t%s\n\t: > %s\n\texec tail -f /dev/null\nfi\nexec %s \"$@\"\n",
		submit, mark, binary)
	if err := os.WriteFile(held, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended := &screen{}, make(chan error, 1)
	go func() { ended <- k.show(ctx, held, out) }()
	k.await(t, func([]string) bool {
		select {
		case err := <-ended:
			t.Fatalf("ended before it was stopped: %v\n%s", err, out)
		default:
		}
		_, err := os.Stat(mark)
		return err == nil
	})
	app := appOf(out)
	meanwhile(app)
	cancel()
	if err := <-ended; err == nil || strings.Contains(out.String(), "not all deleted") {
		t.Errorf("ended with %v\n%s", err, out)
	}
	k.checkNothingLeft(t, app)
}

func appOf(out *screen) string {
	return string(regexp.MustCompile(`tally-demo-\w+`).Find([]byte(out.String())))
}

// makeLate makes what a submit would that comes to the cluster when nobody waits for it any more.
func (k *named) makeLate(t *testing.T, app string) {
	for _, topic := range []string{app + ".input", app + ".output", app + ".dead", app + ".changelog"} {
		if err := k.admin.Create(t.Context(), kafka.TopicSpec{Name: topic, Partitions: 1, Replication: 1}); err != nil {
			t.Fatal(err)
		}
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = app, -1
	topic, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, topic.Partitions = app+".input", append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	k.request(t, func(ctx context.Context, cl kmsg.Requestor) error {
		resp, err := req.RequestWith(ctx, cl)
		if err == nil && resp.Topics[0].Partitions[0].ErrorCode != 0 {
			err = fmt.Errorf("code %d", resp.Topics[0].Partitions[0].ErrorCode)
		}
		return err
	})
	if !slices.Contains(k.groups(t), app) {
		t.Fatalf("there is no consumer group %s", app)
	}
}

func (k *named) request(t *testing.T, do func(context.Context, kmsg.Requestor) error) {
	t.Helper()
	cl, err := k.cfg.Client(kgo.MaxVersions(kversion.V3_0_0())) // which commit offsets by a topic's name
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := do(t.Context(), cl); err != nil {
		t.Fatal(err)
	}
}

func (k *named) groups(t *testing.T) (names []string) {
	t.Helper()
	k.request(t, func(ctx context.Context, cl kmsg.Requestor) error {
		resp, err := kmsg.NewPtrListGroupsRequest().RequestWith(ctx, cl)
		if err == nil {
			for _, g := range resp.Groups {
				names = append(names, g.Group)
			}
		}
		return err
	})
	return names
}

func (k *named) topics(t *testing.T) (names []string) {
	t.Helper()
	k.request(t, func(ctx context.Context, cl kmsg.Requestor) error {
		resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
		if err == nil {
			for _, topic := range resp.Topics {
				names = append(names, *topic.Topic)
			}
		}
		return err
	})
	return names
}

// await polls the names of all topics.
func (k *named) await(t *testing.T, ok func(topics []string) bool) {
	t.Helper()
	for limit := time.After(time.Minute); !ok(k.topics(t)); {
		select {
		case <-limit:
			t.Fatal("it did not come within a minute")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (k *named) checkNothingLeft(t *testing.T, app string) {
	t.Helper()
	if app == "" {
		t.Error("the demo does not say its app")
	}
	if topics, groups := k.topics(t), k.groups(t); len(topics)+len(groups) > 0 {
		t.Errorf("left behind of %s: topics %v, consumer groups %v", app, topics, groups)
	}
}
