package api

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// slowReader takes what is written in its own time, which is the server's.
type slowReader struct {
	*httptest.ResponseRecorder
	mu   sync.Mutex
	took time.Duration // by each write
	now  time.Time
}

func newSlowReader(took time.Duration) *slowReader {
	return &slowReader{ResponseRecorder: httptest.NewRecorder(), took: took, now: time.Now()}
}

func (r *slowReader) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *slowReader) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(r.took)
	return r.ResponseRecorder.Write(b)
}

func (r *slowReader) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Body.String()
}

// server is one whose writes take the reader's time.
func (r *slowReader) server(a *testApp) *Server {
	sm := seam.World()
	sm.Now = r.clock
	return NewServer(&testNode{apps: []*testApp{a}},
		Options{Seam: sm, ScanRateMin: 1 << 20, ScanRateWindow: 200 * time.Millisecond, WatchInterval: time.Millisecond})
}

// A scan whose reader is too slow ends with an error line, and frees its place; one that keeps up
// is whole, however long it takes.
func TestSlowScan(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", longWords(3000, 400)) // 40 writes
	for _, c := range []struct {
		verb string
		took time.Duration // of a write of 32 KB
		slow bool
	}{{"scan", 20 * time.Millisecond, false}, {"scan", 60 * time.Millisecond, true}, {"watch", 60 * time.Millisecond, true}} {
		r := newSlowReader(c.took)
		s := r.server(a)
		began := r.clock()
		s.ServeHTTP(r, httptest.NewRequest("POST", "http://127.0.0.1/v1/apps/wordcount/"+c.verb, nil))
		lines := strings.Split(strings.TrimSuffix(r.text(), "\n"), "\n")
		for _, l := range lines {
			if !json.Valid([]byte(l)) {
				t.Fatalf("%s: no line: %.100s", c.verb, l)
			}
		}
		last := lines[len(lines)-1]
		if c.slow {
			if e := errorOf(t, last); e.Code != CodeTooSlow || len(lines) > 1000 || r.clock().Sub(began) > 400*time.Millisecond {
				t.Errorf("%s: after %d lines and %s %s", c.verb, len(lines), r.clock().Sub(began), last)
			}
		} else if len(lines) != 3001 || !strings.HasPrefix(last, `{"end":true`) || r.clock().Sub(began) < 700*time.Millisecond {
			t.Errorf("%s: %d lines after %s, the last %.100s", c.verb, len(lines), r.clock().Sub(began), last)
		}
		if len(s.scans) != 0 || len(s.watches) != 0 {
			t.Errorf("%s: a place is still taken", c.verb)
		}
	}
}

// A watch that has sent the present values may be read as slowly as one likes: it keeps the latest
// values alone, and no place for scans.
func TestSlowWatch(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	r := newSlowReader(0)
	s := r.server(a)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeHTTP(r, httptest.NewRequest("POST", "http://127.0.0.1/v1/apps/wordcount/watch", nil).WithContext(ctx))
	}()
	writes := func() int { return strings.Count(r.text(), "\n") }
	eventually(t, "present values", func() bool { return writes() > 0 })
	r.mu.Lock()
	r.took = time.Second
	r.mu.Unlock()
	eventually(t, "changes", func() bool { a.event(0, "k", "w"); return writes() > 5 })
	if strings.Contains(r.text(), `"error"`) {
		t.Error(r.text())
	}
	cancel()
	<-done
}
