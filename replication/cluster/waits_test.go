package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// foreignCert is an error of who dials, of a certificate.
type foreignCert struct{}

func (foreignCert) Error() string   { return "the certificate is of another authority" }
func (foreignCert) Untrusted() bool { return true }

// said is a log that can be read while it is written.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

// says waits until the log has a line with all these words.
func (s *said) says(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
	lines:
		for line := range strings.Lines(s.buf.String()) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return nil
		}
		return fmt.Errorf("no line says %q; the end of the log:\n%s", words, s.buf.Bytes()[max(s.buf.Len()-1000, 0):])
	})
}

// logged gives the node a log of its own.
func (n *tnode) logged() *said {
	s := &said{}
	n.conf.Log = slog.New(slog.NewTextHandler(s, nil))
	return s
}

// TestWaits: a node says what it waits for, in its log and to who asks: as a warning where that is
// a certificate, which no waiting mends, whether it has been in the cluster or not.
func TestWaits(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	last, log := nodes[2], nodes[2].logged()
	last.start().waits("these seeds do not answer: ", nodes[0].gate.addr+" (", nodes[1].gate.addr+" (")
	log.says(t, "level=INFO", "waiting for the cluster: these seeds do not answer")
	last.stop()

	refuse := func(real Call) Call {
		return func(ctx context.Context, addr, call string, in, out any) error {
			if addr != last.gate.addr {
				return fmt.Errorf("node call %s to %s: %w", call, addr, foreignCert{})
			}
			return real(ctx, addr, call, in, out)
		}
	}
	last.wrap, log = refuse, last.logged()
	last.start().waits("these seeds do not answer: ", nodes[0].gate.addr+" (node call hello", foreignCert{}.Error())
	log.says(t, "level=WARN", "waiting for the cluster: these seeds do not answer", foreignCert{}.Error())
	last.stop()

	last.wrap = nil
	inCluster(nodes)
	if why := last.Waits(); why != "" {
		t.Errorf("it is in, and waits: %s", why)
	}
	leader := leaderOf(t, nodes...)
	if leader == last {
		last = nodes[0]
	}
	last.stop()
	last.wrap, log = refuse, last.logged()
	last.start().waits("does not answer: node call join", foreignCert{}.Error())
	log.says(t, "level=WARN", "waiting for the cluster", foreignCert{}.Error())
	last.wrap = nil
	last.stop()
	last.start().in()
	eventually(t, func() error {
		if why := last.Waits(); why != "" {
			return errors.New(why)
		}
		return nil
	})
}
