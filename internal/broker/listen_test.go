package broker

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// server0 is a broker that has not started, with the lock of its data dir.
func server0(t *testing.T, data string) *server {
	t.Helper()
	d := dir(filepath.Join(data, "broker"))
	if err := os.MkdirAll(d.nodes(), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := d.acquire(limit(t), seam.World())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	return newServer(MainOptions{DataDir: data, Seam: seam.World(), Log: discard()}, d, lock)
}

// TestNothingIsServedBeforeTheGuards has a client ask as soon as the port is there.
func TestNothingIsServedBeforeTheGuards(t *testing.T) {
	s := server0(t, t.TempDir())
	id, err := s.dir.identity(seam.World())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	if unclean, err := s.dir.unclean(); !unclean || err != nil {
		t.Errorf("kfake reads what it then has in memory alone, and a kill would not be noticed: %v", err)
	}
	if s.cluster, err = s.listen(&id); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	var asked atomic.Int32
	answered := make(chan error, 1)
	go func() {
		a, err := kafka.NewAdmin(kafka.Config{Brokers: []string{s.cluster.ListenAddrs()[0]}, Seam: seam.World()})
		if err == nil {
			defer a.Close()
			_, err = a.ClusterID(context.Background())
		}
		answered <- err
	}()
	early, stop := seam.World().Timer(200 * time.Millisecond) // for a broker that serves too early
	defer stop()
	select {
	case err := <-answered:
		t.Fatalf("it serves without guards (%v)", err)
	case <-early:
	}
	all := guards{cluster: s.cluster, each: []guard{func(kmsg.Request) (kmsg.Response, error, bool) { asked.Add(1); return nil, nil, false }}}
	all.stand()
	close(s.ready)
	if err := <-answered; err != nil || asked.Load() == 0 {
		t.Errorf("answered with %v after %d requests that the guards saw", err, asked.Load())
	}
}

func TestHeldListenerCloses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := hold(l, make(chan struct{}))
	ended := make(chan error, 1)
	go func() { _, err := held.Accept(); ended <- err }()
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// TestFailedSaveIsNoOrderlyEnd has a directory in the way of a file that kfake writes at its end.
func TestFailedSaveIsNoOrderlyEnd(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, nil)
	b.send(b.client(), numbered(0, 0)...)
	inTheWay := b.dir().topicsFile() + ".tmp"
	if err := os.Mkdir(inTheWay, 0o755); err != nil {
		t.Fatal(err)
	}
	err := b.end()
	b.end = func() error { return nil } // for the cleanup, which looks only now
	if err == nil || !strings.Contains(err.Error(), "could not write its data: persist to disk") {
		t.Errorf("it ended with %v", err)
	}
	if unclean, err := b.dir().unclean(); !unclean || err != nil {
		t.Errorf("it took the mark away (%v)", err)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	start(t, b.data).has(0, "0")
}
