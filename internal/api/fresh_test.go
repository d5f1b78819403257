package api

import (
	"sync/atomic"
	"testing"
	"time"
)

// A fresh answer waits, for a group that has values too, until the input was seen after the
// question to hold nothing more; an ordinary one does not wait, and neither does one whose time is
// over.
func TestFreshAnswerWaits(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 2)
	a.event(0, "k", "w")
	var lag atomic.Int64
	lag.Store(1)
	a.setLane(0, func(v *LaneView) {
		v.Lag = func(int32) int64 { return lag.Load() }
		v.AsOfMs = func() int64 { return time.Now().Add(time.Second).UnixMilli() }
	})
	server, _ := serve(t, &testNode{apps: []*testApp{a}}, Options{FreshWait: time.Minute})
	get := func(query string) string {
		_, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?"+query, `["k","w"]`)
		return string(decode[GetAnswer](t, body).Values)
	}
	for _, query := range []string{"", "fresh=true&wait=0s", "fresh=true&wait=3ms"} {
		if got := get(query); got != `{"count":1}` {
			t.Fatalf("%s: %s", query, got)
		}
	}
	before, done := a.askedSoFar(), make(chan string, 1)
	go func() { done <- get("fresh=true&wait=1m") }()
	eventually(t, "a second look", func() bool { return a.askedSoFar() > before+1 })
	a.event(0, "k", "w")
	lag.Store(0)
	if got := <-done; got != `{"count":2}` {
		t.Fatalf("the fresh answer is %s", got)
	}
}

// A look between the two questions moves the age of an answer: an old lag must not get a new age.
func TestAgeNeverNewerThanLag(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 2)
	a.event(0, "k", "w")
	var look atomic.Int64 // each question is a look: its lag is -look, its age 1000 + look
	a.setLane(0, func(v *LaneView) {
		v.Lag = func(int32) int64 { return -look.Add(1) }
		v.AsOfMs = func() int64 { return 1000 + look.Add(1) }
	})
	server, _ := serve(t, &testNode{apps: []*testApp{a}}, Options{})
	_, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait=0s", `["k","w"]`)
	for _, p := range decode[GetAnswer](t, body).Parts {
		if seen, proven := -p.Lag, p.AsOfMs-1000; p.Lag != 0 && proven > seen {
			t.Errorf("partition %d: lag of look %d with the age of look %d", p.Partition, seen, proven)
		}
	}
}
