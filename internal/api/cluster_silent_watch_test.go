package api

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// newSilentWatchCluster is newSilentCluster, impatient, with every node answering.
func newSilentWatchCluster(t *testing.T) (*testApp, *testCluster) {
	a := newTestApp(t, wordcount, 3, 3)
	a.Partitioners = []func([]byte, int) int32{lastDigit, lastDigit}
	c := newTestCluster(t, a, 3, Options{ForwardSlack: 20 * time.Millisecond, StaleTry: 10 * time.Millisecond,
		WaitMax: 10 * time.Second, WatchLook: 5 * time.Millisecond, StreamStall: 200 * time.Millisecond, StreamLook: 5 * time.Millisecond})
	for i := range 9 {
		a.event(int32(i%3), fmt.Sprint("u", i), "w")
	}
	return a, c
}

// watchOne watches one group at a node; it has the last line's values with the silent lanes.
func (c *testCluster) watchOne(node int, group string, opt ReadOptions) *watched {
	opt.Wait = 30 * time.Millisecond
	client := newTestClient(c.t, c.nodes[node].server.URL)
	ctx, cancel := context.WithCancel(c.t.Context())
	w := &watched{latest: map[string]string{}, cancel: cancel, done: make(chan error, 1)}
	go func() {
		w.done <- client.Watch(ctx, "wordcount", []byte(group), opt, func(l Count) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.latest[string(l.Group)] = fmt.Sprint(string(l.Values), l.Silent)
			w.lines++
			return nil
		})
	}()
	c.t.Cleanup(cancel)
	return w
}

// A watch of one group answers where a get does, names the silent lanes in each line, and says the
// values anew once they answer. Other watches do not begin.
func TestWatchOfALivingLane(t *testing.T) {
	for name, lost := range map[string]func(n *clusterNode, lane *Placement){
		"they refuse":        func(n *clusterNode, _ *Placement) { n.refuses = true },
		"they hang":          func(n *clusterNode, _ *Placement) { n.hangs = true },
		"they are not alive": func(n *clusterNode, _ *Placement) { n.member.Alive = false },
		"nobody owns a lane": func(_ *clusterNode, lane *Placement) { lane.Owner = "" },
	} {
		for _, opt := range []ReadOptions{{}, {Fresh: true}, {Stale: true}} {
			a, c := newSilentWatchCluster(t)
			placed := append([]Placement(nil), c.placed...)
			c.change(func() {
				c.placed = append([]Placement(nil), placed...)
				lost(c.nodes[0], &c.placed[0])
				lost(c.nodes[1], &c.placed[1])
			})
			w := c.watchOne(2, `["u5","w"]`, opt)
			eventually(t, name+": the living lane's values", w.has(`["u5","w"]`, `{"count":1}[0 1]`))
			a.event(2, "u5", "w")
			eventually(t, name+": a change in the living lane", w.has(`["u5","w"]`, `{"count":2}[0 1]`))
			for _, other := range []string{`["u4","w"]`, `["u5"]`, `["u5","nothing"]`, `[null,"w"]`, `[]`} {
				if status, body := ask(t, "POST", c.url(2, "watch?wait=30ms"), other); status != 503 {
					t.Errorf("%s, %s: status %d %s", name, other, status, body)
				}
			}
			a.event(0, "u5", "w w")
			c.change(func() {
				c.placed = placed
				for _, n := range c.nodes {
					n.refuses, n.hangs, n.member.Alive = false, false, true
				}
			})
			eventually(t, name+": what the other lanes had", w.has(`["u5","w"]`, `{"count":4}[]`))
			a.event(0, "u5", "w")
			eventually(t, name+": a change in another lane", w.has(`["u5","w"]`, `{"count":5}[]`))
		}
	}
}

// A watch that has begun goes on when most nodes are lost, and when one of them comes back.
func TestWatchLosesLanes(t *testing.T) {
	a, c := newSilentWatchCluster(t)
	w := c.watchOne(2, `["u5","w"]`, ReadOptions{})
	eventually(t, "present values", w.has(`["u5","w"]`, `{"count":1}[]`))
	c.change(func() { c.nodes[0].hangs, c.nodes[1].hangs = true, true })
	eventually(t, "the living lane's values", w.has(`["u5","w"]`, `{"count":1}[0 1]`))
	a.event(2, "u5", "w")
	eventually(t, "a change", w.has(`["u5","w"]`, `{"count":2}[0 1]`))
	c.change(func() { c.nodes[1].hangs = false })
	eventually(t, "one lane less is silent", w.has(`["u5","w"]`, `{"count":2}[0]`))
	c.change(func() { c.nodes[0].hangs = false })
	eventually(t, "no lane is silent", w.has(`["u5","w"]`, `{"count":2}[]`))
}

// A watch whose key's own lane is silent waits for it longer than a get, once it has begun.
func TestWatchIsPatient(t *testing.T) {
	_, c := newSilentWatchCluster(t)
	w := c.watchOne(2, `["u4","w"]`, ReadOptions{})
	eventually(t, "present values", w.has(`["u4","w"]`, `{"count":1}[]`))
	c.change(func() { c.nodes[1].hangs = true })
	asks := func() (n int) { c.change(func() { n = c.nodes[2].asks }); return n }
	begun := asks()
	eventually(t, "it asks again and again", func() bool { return asks() > begun+20 })
	w.mu.Lock()
	lines := w.lines
	w.mu.Unlock()
	c.change(func() { c.nodes[1].hangs = false })
	eventually(t, "the values anew", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.lines > lines })
	if !w.has(`["u4","w"]`, `{"count":1}[]`)() {
		t.Errorf("%v", w.latest)
	}
}

// In an app of two stages a watch of one group hears of its one lane, and names those that may not
// have read all of the input.
func TestWatchOfTwoStagesWithSilentLanes(t *testing.T) {
	s := newStages(t, 3)
	for _, n := range s.nodes {
		n.api.opt.WatchLook, n.api.opt.ForwardSlack = 5*time.Millisecond, 20*time.Millisecond
	}
	group := `["k","w"]`
	q := int(s.count(group, 4))
	other, asked := (q+1)%3, (q+2)%3
	s.change(func() { s.nodes[other].refuses = true })
	w := s.watchOne(asked, group, ReadOptions{})
	eventually(t, "the lane's values", w.has(group, fmt.Sprintf(`{"count":4}[%d]`, other)))
	s.count(group, 5)
	eventually(t, "a change", w.has(group, fmt.Sprintf(`{"count":5}[%d]`, other)))
	s.change(func() { s.nodes[other].refuses = false })
	eventually(t, "all answer", w.has(group, `{"count":5}[]`))
	s.change(func() { s.nodes[q].refuses = true })
	if status, body := ask(t, "POST", s.url(asked, "watch?wait=30ms"), group); status != 503 {
		t.Errorf("the lane of the group is silent: status %d %s", status, body)
	}
}
