package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// mute is a broker that takes events and answers nothing; it tells of each request.
func mute(t *testing.T, asked func()) kafka.Config {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked()
		return nil, errors.New("the connection is cut"), true
	})
	return kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
}

// TestFillOfMuteBrokersEnds: without an end of its own a command that fills would hang for ever.
func TestFillOfMuteBrokersEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := Workload{Name: "w", Events: 100, Keys: 10, Partitions: 2}
	cfg := mute(t, func() {})
	if err := w.CreateTopic(ctx, cfg, "in"); err != nil {
		t.Fatal(err)
	}
	if err := w.send(ctx, cfg, "in", time.Second); !errors.Is(err, kgo.ErrRecordTimeout) {
		t.Errorf("%v", err)
	}
}

// TestFillSaysWhatEndedIt: the reason that the caller gave, such as a broker that has ended.
func TestFillSaysWhatEndedIt(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("broker 1 has ended")
	cfg := mute(t, func() { cancel(gone) })
	w := Workload{Name: "w", Events: 300_000, Keys: 10, Partitions: 2} // more than are buffered
	if err := w.Fill(ctx, cfg, "in"); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}
