package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// A stream whose node has stopped in the middle of it ends with a word; one that is only quiet does
// not.
func TestStreamOfAStoppedNode(t *testing.T) {
	t.Parallel()
	var stopped atomic.Bool
	hang := make(chan struct{})
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			if stopped.Load() {
				<-hang
			}
			return
		}
		_, _ = io.WriteString(w, `{"group":["a"],"values":{"count":1}}`+"\n")
		_ = http.NewResponseController(w).Flush()
		<-hang
	}))
	defer node.Close()
	defer close(hang)
	c, err := NewClient(node.URL, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	c.quiet, c.alive = 20*time.Millisecond, 500*time.Millisecond // longer than the quiet node is listened to
	quiet, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Scan(quiet, "x", nil, ReadOptions{}, func(Count) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a quiet node: %v", err)
	}
	stopped.Store(true)
	if _, err := c.Scan(t.Context(), "x", nil, ReadOptions{}, func(Count) error { return nil }); !errors.Is(err, ErrIncomplete) {
		t.Errorf("a stopped node: %v", err)
	}
}
