package cluster

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestClockIsFarOff: a node that joins with a clock that is far off says so, once, and both times;
// others do not.
func TestClockIsFarOff(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	for _, c := range []struct {
		name string
		off  time.Duration
		says string
	}{
		{"right", 0, ""}, {"fast", time.Hour, "ms ahead of that of the leader at "}, {"slow", -time.Hour, "ms behind that of the leader at "},
	} {
		var log logged
		n := newNode(t, c.name, a.gate.addr)
		n.conf.Seam.Now = func() time.Time { return time.Now().Add(c.off) }
		n.conf.Log = slog.New(slog.NewTextHandler(&log, nil))
		n.start().in()
		text := log.String()
		said := strings.Count(text, "the clock of this node says 20")
		if want := min(len(c.says), 1); said != want {
			t.Errorf("%s: said %d times, not %d:\n%s", c.name, said, want, text)
		}
		if c.says != "" && (!strings.Contains(text, c.says+a.gate.addr+", which says 20") || !strings.Contains(text, "NTP")) {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}

type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
