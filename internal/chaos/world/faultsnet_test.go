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

// wrote tells whether the history has anything: of a fault, that it has come.
func (w *fakeWorld) wrote() bool {
	_ = w.out.Flush()
	info, err := os.Stat(filepath.Join(w.opt.Dir, history.HistoryFile))
	return err == nil && info.Size() > 0
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
		over := make(chan error, 1)
		go func() { over <- f.brokerCut(ctx) }()
		until(t, "the fault has come", w.wrote)
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
	}
}
