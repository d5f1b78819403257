package node

import (
	"context"
	"fmt"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/broker"
	"github.com/tally-kafka/tally/internal/seam"
)

// embedded serves a data dir's embedded broker from this process, until end is called.
func embedded(t *testing.T, data string) (addr string, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- broker.Main(ctx, broker.MainOptions{
			DataDir: data, Keep: true, Ready: func(addr string) { ready <- addr }, Seam: seam.World(),
		})
	}()
	done := false
	end = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	select {
	case addr = <-ready:
	case err := <-ended:
		done = true
		t.Fatal(err)
	}
	return addr, end
}

// A repartition topic that was trimmed to its end goes on there when the embedded broker has ended
// and starts again.
func TestTrimmedRepartitionOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	addr, end := embedded(t, data)
	p := newPlace(t, []string{addr})
	p.topic(p.in, 2)
	s := p.spec(byWord)
	events := sentences(2, 200)
	p.send(events...)
	n := p.start(running(s))
	n.settled(200)
	until(t, func() error {
		starts, ends, err := p.admin.Bounds(p.ctx(), p.app+".repartition", false)
		if err != nil {
			return err
		}
		for q := range int32(2) {
			pos := n.lane(int(q), api.LaneRunning).Position[fmt.Sprintf("%s.repartition/%d", p.app, q)]
			if starts[q] == 0 || starts[q] < min(pos, ends[q]-1) {
				return fmt.Errorf("partition %d is trimmed to %d, the position is %d, the end %d", q, starts[q], pos, ends[q])
			}
		}
		return nil
	})
	n.stop()
	end()
	embedded(t, data)
	more := sentences(2, 50)
	p.send(more...)
	n = p.start(running(s), inDir(n.dir))
	n.rightByWord(append(events, more...))
}
