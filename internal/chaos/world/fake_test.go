package world

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/failpoint"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// fakeWorld is a world without brokers, whose nodes a, b and the further node d are a script, and
// answer what the test says.
type fakeWorld struct {
	*World
	mu     sync.Mutex
	says   api.Status
	silent bool
}

// idle is a node that does nothing until it is ended. Any other command succeeds at once.
const idle = `case "$1" in run) exec sleep 1000;; esac`

func newFakeWorld(t *testing.T, script string) *fakeWorld {
	t.Helper()
	dir := t.TempDir()
	w := &fakeWorld{World: &World{
		opt:   Options{Dir: dir, Bin: filepath.Join(dir, "bin"), Nodes: []string{"a", "b"}, Spare: []string{"d"}, Say: func(string, ...any) {}},
		links: link.New(seam.World(), 1), cluster: &testkafka.Cluster{}, nodes: map[string]*node{}, views: map[string]view{},
		doing: map[string]map[string]int{}, cells: newCells(), forget: func() bool { return true },
	}}
	out, err := history.Create(filepath.Join(dir, history.HistoryFile))
	must(t, errors.Join(err, os.WriteFile(w.opt.Bin, []byte("#!/bin/sh\n"+script+"\n"), 0o700),
		os.Mkdir(filepath.Join(dir, history.LogDir), 0o700), os.Mkdir(filepath.Join(dir, history.DataDir), 0o700)))
	w.out = out
	server := httptest.NewServer(http.HandlerFunc(w.answer))
	for _, name := range []string{"a", "b", "d"} {
		n, err := w.newNode(name)
		must(t, err)
		n.listen = strings.TrimPrefix(server.URL, "http://")
		n.own, err = api.NewClient(server.URL, seam.World())
		must(t, err)
		n.public = n.own
		w.nodes[name] = n
	}
	t.Cleanup(func() {
		w.stopNodes()
		w.beside.Wait()
		server.Close()
		w.links.Close()
		_ = w.out.Close()
	})
	return w
}

func (w *fakeWorld) answer(to http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent {
		to.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_ = json.NewEncoder(to).Encode(w.says)
}

func (w *fakeWorld) say(st api.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.says, w.silent = st, false
}

// fall has the nodes say nothing.
func (w *fakeWorld) fall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = true
}

// fault is one that nobody carries out yet.
func (w *fakeWorld) fault(kind plan.Kind, at string) *fault {
	return &fault{Fault: plan.Fault{Kind: kind, Step: at, For: time.Second}, w: w.World, rand: rand.New(rand.NewPCG(1, 1)),
		end: time.Now().Add(time.Minute), hurt: []string{"a"}}
}

// inside is the node's side of what it shares with the world.
func inside(t *testing.T, n *node) *failpoint.Shared {
	t.Helper()
	s, err := failpoint.Open(filepath.Join(n.w.opt.Dir, history.DataDir, n.name+".shared"))
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// saw are the problems and notes so far.
func (w *fakeWorld) saw() (problems, notes []string) {
	w.World.mu.Lock()
	defer w.World.mu.Unlock()
	return w.problems, w.notes
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for long until %s", what)
		}
	}
}

// still says that nothing has come of done for a moment.
func still(t *testing.T, what string, done <-chan bool) {
	t.Helper()
	select {
	case <-done:
		t.Fatal(what)
	case <-time.After(50 * time.Millisecond):
	}
}
