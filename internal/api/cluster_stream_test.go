package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// A watch hears of changes at every node, and folds a group that has counters at several; when a
// lane moves it goes on from the new owner.
func TestWatchAcrossNodes(t *testing.T) {
	a := newTestApp(t, wordcount, 3, 3)
	a.event(0, "user-1", "spark")
	a.event(1, "user-1", "spark")
	c := newTestCluster(t, a, 4, Options{WatchLook: 5 * time.Millisecond})
	w := startWatch(t, newTestClient(t, c.nodes[0].server.URL), `["user-1"]`)
	eventually(t, "present values of two nodes", w.has(`["user-1","spark"]`, `{"count":2}`))
	a.event(1, "user-1", "spark new")
	eventually(t, "a change at another node", w.has(`["user-1","spark"]`, `{"count":3}`))
	eventually(t, "a new group at another node", w.has(`["user-1","new"]`, `{"count":1}`))
	a.event(0, "user-1", "spark")
	a.event(2, "user-2", "spark")
	eventually(t, "a change here", w.has(`["user-1","spark"]`, `{"count":4}`))
	c.change(func() { c.nodes[1].hangs = true }) // so it cannot say that it has lost the lane
	c.give(1, 3)
	a.event(1, "user-1", "moved")
	eventually(t, "a change at the new owner", w.has(`["user-1","moved"]`, `{"count":1}`))
	w.mu.Lock()
	if _, ok := w.latest[`["user-2","spark"]`]; ok {
		t.Errorf("%v", w.latest)
	}
	w.mu.Unlock()
	w.cancel()
	if err := <-w.done; err == nil {
		t.Fatal("who is interrupted knows it")
	}
	eventually(t, "places are free", func() bool {
		busy := len(c.nodes[0].api.watches)
		for _, n := range c.nodes {
			busy += len(n.api.nodeWatches) + len(n.api.nodeScans)
		}
		return busy == 0
	})
}

// breakingBody ends a stream after some bytes.
type breakingBody struct {
	io.ReadCloser
	left int
}

func (b *breakingBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("connection reset")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// breakingCluster breaks the first scans of other nodes after so many bytes each.
type breakingCluster struct {
	*clusterNode
	breaks atomic.Int32
	after  int
}

func (b *breakingCluster) Do(ctx context.Context, id string, req *http.Request) (*http.Response, error) {
	scan := strings.HasSuffix(req.URL.Path, "/scan")
	resp, err := b.clusterNode.Do(ctx, id, req)
	if err == nil && scan && b.breaks.Add(-1) >= 0 {
		resp.Body = &breakingBody{resp.Body, b.after}
	}
	return resp, err
}

// A scan whose owner dies before its first line is tried again; after that it ends without an end.
func TestScanLosesAnOwner(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "user-0", "a")
	a.event(1, "user-1", longWords(3000, 100))
	c := newTestCluster(t, a, 2, Options{})
	for _, q := range []struct {
		after    int
		complete bool
	}{{0, true}, {10_000, true}, {200_000, false}} {
		broken := &breakingCluster{clusterNode: c.nodes[0], after: q.after}
		broken.breaks.Store(2)
		c.nodes[0].api.opt.Cluster = broken
		n := 0
		_, err := newTestClient(t, c.nodes[0].server.URL).Scan(t.Context(), "wordcount", nil, ReadOptions{Wait: time.Minute},
			func(Count) error { n++; return nil })
		if q.complete && (err != nil || n != 3001) || !q.complete && (!errors.Is(err, ErrIncomplete) || n == 0) {
			t.Errorf("broken after %d bytes: %d groups, %v", q.after, n, err)
		}
		if !q.complete && !strings.Contains(err.Error(), "node b stopped in the middle of its answer") {
			t.Errorf("%v", err)
		}
	}
}

// A watch goes on when a node is lost while it sends its present values.
func TestWatchLosesAnOwner(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "user-0", "a")
	a.event(1, "user-1", longWords(3000, 100))
	c := newTestCluster(t, a, 2, Options{})
	broken := &breakingCluster{clusterNode: c.nodes[0], after: 200_000}
	broken.breaks.Store(2)
	c.nodes[0].api.opt.Cluster = broken
	w := startWatch(t, newTestClient(t, c.nodes[0].server.URL), "")
	eventually(t, "all groups", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.latest) == 3001
	})
}

// What fails at another node in the middle of a scan is no end.
func TestScanFailsElsewhere(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "user-0", longWords(3500, 4000))
	a.event(1, "user-0", longWords(3500, 4000))
	c := newTestCluster(t, a, 2, Options{})
	n := 0
	_, err := newTestClient(t, c.nodes[0].server.URL).Scan(t.Context(), "wordcount", nil, ReadOptions{Wait: time.Minute}, func(Count) error {
		if n++; n == 1 {
			return a.lanes[1].Store.Close()
		}
		return nil
	})
	if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "scan lane 1") {
		t.Fatalf("after %d groups: %v", n, err)
	}
}

// A node that hangs in the middle of a stream is not waited for without end, and less once its
// lanes are another's.
func TestStreamStalls(t *testing.T) {
	for _, q := range []struct {
		stall time.Duration
		gone  bool
	}{{time.Millisecond, false}, {time.Hour, true}} {
		r, w := io.Pipe()
		defer w.Close()
		cancel := func() { w.CloseWithError(errors.New("cancelled")) }
		f := &frameReader{body: r, cancel: cancel, buf: bufio.NewReader(stallReader{body: r, cancel: cancel, seam: seam.World(),
			stall: q.stall, look: time.Millisecond, gone: func() bool { return q.gone }})}
		if _, err := f.next(); err == nil || !strings.Contains(err.Error(), "stopped in the middle of its answer (cancelled)") {
			t.Fatalf("%v", err)
		}
	}
}

// What is no frame is an error, never a group.
func FuzzFrames(f *testing.F) {
	good := appendFrame(appendFrame(nil, frameGroup, []byte("g"), []byte("v")), frameEnd, []byte("{}"))
	f.Add(good)
	f.Add(good[:3])
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := newFrameReader(b)
		for {
			kind, err := in.next()
			if err != nil || kind == frameEnd {
				return
			}
			if len(in.group)+len(in.values) > len(b) {
				t.Fatalf("%d bytes out of %d", len(in.group)+len(in.values), len(b))
			}
		}
	})
}

// While lanes move, are nobody's for a moment, and nodes hang, every read is answered within its
// wait, in full, and by owners alone.
func TestNoReadFailsWhileLanesMove(t *testing.T) {
	a := newTestApp(t, wordcount, 3, 3)
	for i := range 30 {
		a.event(int32(i%3), fmt.Sprint("u", i%3), "w")
	}
	c := newTestCluster(t, a, 4, Options{ScansMax: 16, StreamLook: 5 * time.Millisecond})
	done, moved := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(moved)
		rnd := rand.New(rand.NewPCG(3, 4))
		for n := 0; ; n++ {
			lane, from := n%3, 1+rnd.IntN(3)
			c.change(func() {
				c.nodes[from].hangs, c.nodes[from].refuses = n%2 == 0, n%2 == 1
				placed := slices.Clone(c.placed)
				placed[lane].Owner = ""
				c.placed = placed
			})
			select {
			case <-done:
				return
			case <-time.After(3 * time.Millisecond):
			}
			for k := range 3 { // the troubled node has none
				c.give(k, (from+1+rnd.IntN(3))%4)
			}
			c.change(func() { c.nodes[from].hangs, c.nodes[from].refuses = false, false })
		}
	}()
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			for i := range 40 {
				verb := []string{"get", "top", "scan"}[i%3]
				body := map[string]string{"get": `["u1","w"]`}[verb]
				status, text := ask(t, "POST", c.url(r, verb+"?wait=30s"), body)
				if status != 200 || !strings.Contains(text, `{"count":10}`) || strings.Contains(text, `"standby"`) || strings.Contains(text, `"error"`) {
					t.Errorf("%s: status %d %s", verb, status, text)
				}
			}
		})
	}
	readers.Wait()
	close(done)
	<-moved
}

// Node scans have places of their own: nodes that merge each other's lanes do not block each other.
func TestScansDoNotWaitForEachOther(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "k", "w")
	c := newTestCluster(t, a, 2, Options{ScansMax: 1})
	c.nodes[1].api.scans <- struct{}{} // b merges something itself
	status, body := ask(t, "POST", c.url(0, "scan?wait=1s"), "")
	if status != 200 || !strings.Contains(body, `"end":true`) {
		t.Fatalf("status %d %s", status, body)
	}
	c.nodes[0].api.nodeScans = make(chan struct{}) // no place
	if status, body := ask(t, "POST", c.url(1, "scan?wait=5ms"), ""); status != 429 {
		t.Fatalf("status %d %s", status, body)
	}
	<-c.nodes[1].api.scans
	if status, body := ask(t, "POST", c.url(1, "scan?wait=5ms"), ""); status != 429 {
		t.Fatalf("status %d %s", status, fmt.Sprint(body))
	}
}
