package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestAnswersAreCompared with the recount: each get and each place of the top.
func TestAnswersAreCompared(t *testing.T) {
	w := bench.Workload{Name: "w", Events: 300, Keys: 30, Partitions: 2}
	recount := w.Recount()
	key, _ := w.Source().Next()
	for _, tc := range []struct {
		name, wrong string
		get         int64 // added to the count of the first key
		top         int64 // added to the third of the top
	}{
		{"right", "", 0, 0},
		{"a get is too high", fmt.Sprintf("a get of [%q] gives", key), 1, 0},
		{"a top is too low", "number 3 of a top is", 0, -1},
	} {
		var top []api.Count
		for n, want := range recount.Largest(topGroups) {
			for k := range w.Keys { // each key once, in order
				name := fmt.Sprintf("key-%d", k)
				group, used := fmt.Appendf(nil, "[%q]", name), false
				for _, c := range top {
					used = used || string(c.Group) == string(group)
				}
				if !used && recount.Of(name) == want {
					if n == 2 {
						want += tc.top
					}
					top = append(top, api.Count{Group: group, Values: values(want)})
					break
				}
			}
		}
		if len(top) != topGroups {
			t.Fatalf("the test's top has %d groups", len(top))
		}
		node := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			if strings.HasSuffix(req.URL.Path, "/top") {
				_ = json.NewEncoder(rw).Encode(api.TopAnswer{Counts: top}) // the test sees what came
				return
			}
			var group []string
			if err := json.NewDecoder(req.Body).Decode(&group); err != nil {
				t.Error(err)
			}
			n := recount.Of(group[0])
			if group[0] == string(key) {
				n += tc.get
			}
			_ = json.NewEncoder(rw).Encode(api.GetAnswer{Found: true, Values: values(n)}) // as above
		}))
		now := time.Unix(0, 0)
		sm := seam.World()
		sm.Now = func() time.Time { now = now.Add(answersWait); return now } // nobody waits here
		l := &Lab{Seam: sm}
		job := peers.Job{Workload: w, App: "w", Listen: strings.TrimPrefix(node.URL, "http://")}
		wrong, err := l.answers(t.Context(), job, recount)
		if err != nil || tc.wrong == "" && wrong != "" || !strings.Contains(wrong, tc.wrong) {
			t.Errorf("%s: %q, %v", tc.name, wrong, err)
		}
		node.Close()
	}
}

// TestAskedNodeIsCompared: a run beside which a node was asked ends in a look at its answers; the
// peer here has no node that could give any.
func TestAskedNodeIsCompared(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, in := newLab(ctx, t)
	peer := &scripted{t: t, outputs: func(_ string, n int) string { return string(values(int64(n))) }}
	_, err := l.Throughput(ctx, peer, in, time.Second, func(ctx context.Context, _ peers.Job, _ *Figures) error {
		<-ctx.Done()
		return nil
	})
	if _, is := errors.AsType[*api.NoNodeError](err); !is {
		t.Errorf("%v", err)
	}
}
