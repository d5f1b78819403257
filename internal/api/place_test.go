package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/seam"
)

// A scan or top that waits, be it for lanes of this node or of another, leaves its place to those
// that can run.
func TestWaitingScansHoldNoPlace(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		a := newTestApp(t, wordcount, nodes, 2)
		a.event(0, "k", "w")
		waits := make(chan struct{}, 1)
		a.setLane(nodes-1, func(v *LaneView) {
			v.Hurry = func() {
				select {
				case waits <- struct{}{}:
				default:
				}
			}
		})
		opt := Options{ScansMax: 1, NodeScansMax: 1}
		var urls []string
		if nodes == 1 {
			ts, _ := serve(t, &testNode{apps: []*testApp{a}}, opt)
			urls = []string{ts.URL + "/v1/apps/wordcount/"}
		} else {
			c := newTestCluster(t, a, nodes, opt)
			urls = []string{c.url(0, ""), c.url(1, "")}
		}
		for _, verb := range []string{"top", "scan"} {
			answered := make(chan int, 1)
			go func() {
				status, _ := ask(t, "POST", urls[0]+verb+"?wait=1m&after=input_event/1:1000", "")
				answered <- status
			}()
			<-waits
			for _, url := range urls {
				for _, other := range []string{"top?wait=0s", "scan?wait=0s"} {
					if status, body := ask(t, "POST", url+other, ""); status != http.StatusOK {
						t.Errorf("%d nodes: %s%s beside a %s that waits: status %d %s", nodes, url, other, verb, status, body)
					}
				}
			}
			a.mu.Lock()
			a.inputs[1] = 2000
			a.mu.Unlock()
			if status := <-answered; status != http.StatusOK {
				t.Errorf("%d nodes: the %s that waited: status %d", nodes, verb, status)
			}
			a.mu.Lock()
			a.inputs[1] = 0
			a.mu.Unlock()
			select {
			case <-waits:
			default:
			}
		}
	}
}

// Who is refused for want of a place hears how many there are, and when to come again.
func TestNoPlaceSaysWhenToComeAgain(t *testing.T) {
	s := NewServer(&testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}, Options{Seam: seam.World(), ScansMax: 1, WatchesMax: 1})
	s.scans <- struct{}{}
	s.watches <- struct{}{}
	for verb, say := range map[string]string{"top": "1 scans and tops", "scan": "1 scans and tops", "watch": "1 watches"} {
		w := sender{}.call(s, "POST", "/v1/apps/wordcount/"+verb+"?wait=0s", "")
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "already serves "+say) {
			t.Errorf("%s: status %d, Retry-After %q: %s", verb, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
	}
}
