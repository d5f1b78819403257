package world

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
)

// line is a connection from broker 1 to broker 2 through the world's network, with what each end
// hears.
type line struct {
	near, far     net.Conn
	atNear, atFar chan string
}

func newLine(t *testing.T, w *fakeWorld) line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	w.links.Register(brokerName(1), os.Getpid())
	addr, err := w.links.Listen(brokerName(2), l.Addr().String())
	must(t, err)
	near, err := net.Dial("tcp", addr)
	must(t, err)
	far, err := l.Accept()
	must(t, err)
	c := line{near, far, make(chan string, 8), make(chan string, 8)}
	for conn, heard := range map[net.Conn]chan string{near: c.atNear, far: c.atFar} {
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			for in := bufio.NewScanner(conn); in.Scan(); {
				heard <- in.Text()
			}
			close(heard)
		}()
	}
	return c
}

// say has both ends say something.
func (l line) say(text string) {
	for _, end := range []net.Conn{l.near, l.far} {
		_, _ = fmt.Fprintln(end, text) // the connection may be cut
	}
}

// hears tells whether the text comes, before the end of the connection.
func hears(end <-chan string, text string, within time.Duration) bool {
	select {
	case got, open := <-end:
		return open && got == text
	case <-time.After(within):
		return false
	}
}

// came is how many faults have come so far.
func (w *fakeWorld) came() (count int) {
	_ = w.out.Flush()
	_ = history.Load(filepath.Join(w.opt.Dir, history.HistoryFile), func(e history.Event) error {
		if e.Kind == history.KindFault {
			count++
		}
		return nil
	})
	return count
}

// begun begins a fault, waits until it has come, and gives its end.
func (w *fakeWorld) begun(ctx context.Context, t *testing.T, f *fault) (over <-chan error) {
	t.Helper()
	before, ended := w.came(), make(chan error, 1)
	go func() { ended <- f.deed()(ctx) }()
	until(t, "the fault has come", func() bool { return w.came() > before })
	return ended
}

// TestBrokerCut: of what brokers say to each other that is lost which the fault is about, and the
// other direction goes on.
func TestBrokerCut(t *testing.T) {
	for way, want := range map[string]struct{ near, far bool }{
		"to": {near: true}, "from": {far: true}, "freeze": {}, "cut": {},
	} {
		w := newFakeWorld(t, idle)
		l := newLine(t, w)
		l.say("before")
		if !hears(l.atNear, "before", 10*time.Second) || !hears(l.atFar, "before", 10*time.Second) {
			t.Fatal("the line is dead")
		}
		f := w.fault(plan.BrokerCut, "")
		f.Target, f.Param, f.For = "broker 1", way, time.Minute
		ctx, heal := context.WithCancel(t.Context())
		defer heal()
		over := w.begun(ctx, t, f)
		l.say("during")
		for end, c := range map[string]struct {
			heard <-chan string
			want  bool
		}{"broker 1": {l.atNear, want.near}, "broker 2": {l.atFar, want.far}} {
			within := map[bool]time.Duration{true: 10 * time.Second, false: 100 * time.Millisecond}[c.want]
			if got := hears(c.heard, "during", within); got != c.want {
				t.Errorf("%s: %s hears the other one: %t", way, end, got)
			}
		}
		heal()
		must(t, <-over)
		if f.rec.Effects == 0 {
			t.Errorf("%s: it has hit nothing", way)
		}
	}
}

// TestEffects: what the node counts during a fault of its disk or clock is what the fault has hit,
// also when the node starts meanwhile, and counts anew.
func TestEffects(t *testing.T) {
	w := newFakeWorld(t, idle)
	n := w.nodes["a"]
	must(t, n.start())
	in := inside(t, n)
	for kind, meet := range map[plan.Kind]func(){
		plan.Disk:  func() { _ = in.Room() },
		plan.Fsync: func() { w.beside.Go(in.AwaitSync) },
		plan.Clock: func() { in.Now() },
	} {
		for _, met := range []bool{true, false} {
			f := w.fault(kind, "")
			f.Target, f.Param, f.For = "node a", "3600", time.Minute
			ctx, heal := context.WithCancel(t.Context())
			defer heal()
			over := w.begun(ctx, t, f)
			if met {
				meet()
				until(t, "it is met", func() bool { return in.Refused()+in.Waits()+in.WrongTimes() > 0 })
			}
			heal()
			must(t, <-over)
			if got := f.rec.Effects > 0; got != met {
				t.Errorf("%s: it is met: %t, and hit something: %t", kind, met, got)
			}
			n.kill()
			must(t, n.start())
		}
	}
	counts := []uint64{5, 2}
	since := w.fault(plan.Disk, "").counter(func() uint64 {
		next := counts[0]
		counts = counts[1:]
		return next
	})
	if got := since(); got != 2 {
		t.Errorf("a node that counts 5, starts and counts 2 was hit %d times", got)
	}
}

// TestLastUntilHit: a fault that has hit nothing when it was to be over lasts until it does.
func TestLastUntilHit(t *testing.T) {
	w := newFakeWorld(t, idle)
	n := w.nodes["a"]
	must(t, n.start())
	in := inside(t, n)
	f := w.fault(plan.Disk, "")
	f.Target, f.For = "node a", time.Millisecond
	over := make(chan bool, 1)
	go func() {
		if err := f.deed()(t.Context()); err != nil {
			t.Error(err)
		}
		over <- true
	}()
	until(t, "the fault has come", func() bool { return w.came() > 0 })
	still(t, "it is over, and has hit nothing", over)
	if in.Room() == nil {
		t.Error("there is room on a full disk")
	}
	<-over
	if err := in.Room(); err != nil || f.rec.Effects != 1 {
		t.Errorf("after a fault that hit %d times: %v", f.rec.Effects, err)
	}
}
