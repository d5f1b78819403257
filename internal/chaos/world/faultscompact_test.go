package world

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// onKfake is a world with a broker and these topics alone.
func onKfake(t *testing.T, topics ...string) (*World, *kfake.Cluster) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(Partitions, topics...))
	must(t, err)
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	t.Cleanup(cl.Close)
	return &World{opt: withDefaults(Options{}), kafka: cl, admin: kadm.NewClient(cl)}, c
}

// TestLosing: a compaction is seen by the partitions that have lost early records.
func TestLosing(t *testing.T) {
	w, _ := onKfake(t, "log")
	for p := range int32(Partitions) {
		for range 2 * earlyNth {
			must(t, w.kafka.ProduceSync(t.Context(), &kgo.Record{Topic: "log", Partition: p, Value: []byte("x")}).FirstErr())
		}
	}
	lost := w.losing(t.Context(), []string{"log"})
	if n := lost(); n != 0 {
		t.Errorf("%d partitions have lost something", n)
	}
	var gone kadm.Offsets
	gone.AddOffset("log", 1, 1, -1)
	gone.AddOffset("log", 4, 3, -1)
	_, err := w.admin.DeleteRecords(t.Context(), gone)
	must(t, err)
	for range 2 {
		if n := lost(); n != 2 {
			t.Errorf("%d partitions have lost something, of 2", n)
		}
	}
}

// TestInsistOnTopics: settings are taken back however often Kafka refuses that, and it is a problem
// where it does so for good.
func TestInsistOnTopics(t *testing.T) {
	w, c := onKfake(t, "log")
	refuse := 0
	c.ControlKey(int16(kmsg.IncrementalAlterConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if refuse == 0 {
			return nil, nil, false
		}
		refuse--
		resp := r.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for _, of := range r.(*kmsg.IncrementalAlterConfigsRequest).Resources {
			resp.Resources = append(resp.Resources, kmsg.IncrementalAlterConfigsResponseResource{
				ResourceType: of.ResourceType, ResourceName: of.ResourceName, ErrorCode: kerr.PolicyViolation.Code})
		}
		return resp, nil, true
	})
	is := func() string {
		found, err := w.admin.DescribeTopicConfigs(t.Context(), "log")
		must(t, err)
		for _, of := range found[0].Configs {
			if of.Key == "segment.ms" {
				return of.MaybeValue()
			}
		}
		return ""
	}
	later := map[string]*string{"segment.ms": compactsLater["segment.ms"]} // kfake knows no compaction
	refuse = 2
	must(t, w.insistOnTopics(t.Context(), time.Minute, []string{"log"}, later))
	if got := is(); got != "3600000" || len(w.Problems()) > 0 {
		t.Errorf("it is set to %q; %q", got, w.Problems())
	}
	refuse = 1 << 30
	if err := w.insistOnTopics(t.Context(), 400*time.Millisecond, []string{"log"}, later); err == nil {
		t.Error("it is set though Kafka refuses it")
	}
	if p := w.Problems(); len(p) != 1 || !strings.Contains(p[0], "does not take the settings of [log] back") {
		t.Errorf("the problems are %q", p)
	}
}
