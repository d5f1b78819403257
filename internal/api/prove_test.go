package api

import (
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/processor/spec"
)

// follower counts a partition that never stands still: an event a millisecond, each counted a while
// after it has come.
type follower struct {
	began  time.Time
	behind time.Duration
}

func (f follower) end() int64     { return time.Since(f.began).Milliseconds() + 1000 }
func (f follower) at(int32) int64 { return f.end() - f.behind.Milliseconds() }

func (f follower) lag(int32) int64 { return f.behind.Milliseconds() }

func now() int64 { return time.Now().UnixMilli() }

// busily has all lanes of an app follow their partitions.
func (a *testApp) busily(behind time.Duration) {
	f := follower{time.Now(), behind}
	for k := range a.lanes {
		a.setLane(k, func(v *LaneView) { v.Input, v.Lag, v.AsOfMs = f.at, f.lag, now })
	}
}

func absence(t *testing.T, url string) GetAnswer {
	t.Helper()
	status, body := ask(t, "POST", url, `["k","w"]`)
	answer := decode[GetAnswer](t, body)
	if status != 200 || answer.Found || len(answer.Parts) == 0 {
		t.Fatalf("status %d: %s", status, body)
	}
	return answer
}

// The end of the input grows at each look, and the position is where it was at the look before: the
// lag is never 0. An absence is proved all the same, as soon as the first end is counted.
func TestAbsenceOnABusyTopic(t *testing.T) {
	for _, query := range []string{"wait=20s", "wait=20s&fresh=true"} {
		a := newTestApp(t, wordcount, 2, 4)
		var mu sync.Mutex
		var at, end, asOf int64
		read := func(of *int64) func(int32) int64 {
			return func(int32) int64 { mu.Lock(); defer mu.Unlock(); return *of }
		}
		a.Look = func() {
			mu.Lock()
			defer mu.Unlock()
			at, end, asOf = end, end+10, now()
		}
		for k := range a.lanes {
			a.setLane(k, func(v *LaneView) {
				v.Input, v.AsOfMs = read(&at), func() int64 { return read(&asOf)(0) }
				v.Lag = func(int32) int64 { mu.Lock(); defer mu.Unlock(); return end - at }
			})
		}
		server, _ := serve(t, &testNode{apps: []*testApp{a}}, Options{FreshWait: time.Minute})
		began := time.Now()
		answer := absence(t, server.URL+"/v1/apps/wordcount/get?"+query)
		if took := time.Since(began); !answer.Proved || lagOfParts(answer.Parts) == 0 || took > 10*time.Second {
			t.Errorf("%s, after %s: %+v", query, took, answer)
		}
	}
}

func lagOfParts(parts []Part) (lag int64) {
	for _, p := range parts {
		lag += p.Lag
	}
	return lag
}

// Nothing is proved while what was there at the question is not counted, nor by a look before it.
func TestAbsenceIsNotProvedTooEarly(t *testing.T) {
	for name, change := range map[string]func(v *LaneView){
		"it stands still":          func(v *LaneView) { v.Lag = func(int32) int64 { return 1 } },
		"the look was before":      func(v *LaneView) { v.AsOfMs = func() int64 { return now() - 60_000 } },
		"the position jumps about": func(v *LaneView) { v.Input = func(int32) int64 { return time.Now().UnixNano() } },
	} {
		a := newTestApp(t, wordcount, 2, 2)
		a.setLane(1, change)
		if answer := absence(t, serveApp(t, a).URL+"/v1/apps/wordcount/get?wait=30ms"); answer.Proved {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	a := newTestApp(t, wordcount, 2, 2)
	if answer := absence(t, serveApp(t, a).URL+"/v1/apps/wordcount/get?wait=20s"); !answer.Proved {
		t.Errorf("all is counted: %+v", answer)
	}
	a.event(0, "k", "w")
	_, body := ask(t, "POST", serveApp(t, a).URL+"/v1/apps/wordcount/get", `["k","w"]`)
	if answer := decode[GetAnswer](t, body); !answer.Found || answer.Proved {
		t.Errorf("of a group with values nothing is proved: %s", body)
	}
}

// A node is asked for a proof for less time than what there was needs to be counted: it says the
// end that it has seen, and a later answer of the lane is held against that.
func TestAbsenceIsProvedOverSeveralQuestions(t *testing.T) {
	a := newTestApp(t, wordcount, 3, 6)
	a.busily(100 * time.Millisecond)
	c := newTestCluster(t, a, 3, Options{ProveSlice: 15 * time.Millisecond})
	if answer := absence(t, c.url(0, "get?wait=20s")); !answer.Proved || len(answer.Parts) != 6 || lagOfParts(answer.Parts) == 0 {
		t.Errorf("%+v", answer)
	}
	// What stands still in one lane is not proved by the others.
	a.setLane(1, func(v *LaneView) { v.Input = func(int32) int64 { return 0 } })
	if answer := absence(t, c.url(0, "get?wait=300ms")); answer.Proved {
		t.Errorf("%+v", answer)
	}
}

// A node of a release that says no end is believed as before.
func TestPartWithoutAnEnd(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	rd := &read{app: &a.App}
	part := func(at, end int64, proved bool) *getPart {
		return &getPart{Part: Part{Position: map[string]int64{"input_event/0": at}}, End: end, Proved: proved}
	}
	for i, c := range []struct {
		part *getPart
		want bool
	}{
		{part(5, 0, false), false},
		{part(5, 0, true), true},
		{part(5, 9, false), false},
		{part(8, 12, false), false}, // the first end is 9
		{part(9, 13, false), true},
		{part(9, 0, false), true},
	} {
		if got := rd.proved(c.part); got != c.want {
			t.Errorf("part %d: %v", i, got)
		}
	}
}

// Through two stages: what each lane of the first had to read is followed into the second.
func TestAbsenceOnABusyTopicOfTwoStages(t *testing.T) {
	const group = `["k","w"]`
	for _, query := range []string{"wait=20s", "wait=20s&fresh=true"} {
		s := newStages(t, 3)
		q := spec.Partition(mustGroup(t, s.app, group), 3)
		first, second := follower{time.Now(), 50 * time.Millisecond}, follower{time.Now(), 120 * time.Millisecond}
		for k := range s.app.lanes {
			s.nodes[k].api.opt.ProveSlice = 15 * time.Millisecond
			s.app.setLane(k, func(v *LaneView) {
				v.Read, v.Sent, v.InputLag, v.AsOfMs = first.at, first.at, first.lag, now
				v.Input, v.Lag = second.at, func(int32) int64 { return 70 }
			})
		}
		if answer := absence(t, s.url(int(q+1)%3, "get?"+query)); !answer.Proved || answer.Parts[0].Lag == 0 {
			t.Errorf("%s: %+v", query, answer)
		}
		// All is read, and what was sent of it is not counted.
		s.app.setLane(int(q), func(v *LaneView) { v.Input = func(int32) int64 { return 0 } })
		if answer := absence(t, s.url(int(q+1)%3, "get?wait=300ms")); answer.Proved {
			t.Errorf("%s: %+v", query, answer)
		}
		// All that was sent is counted, and one lane has still to read.
		s.app.setLane(int(q), func(v *LaneView) { v.Input = second.at })
		s.app.setLane(int(q+2)%3, func(v *LaneView) { v.Read = func(int32) int64 { return 0 } })
		if answer := absence(t, s.url(int(q+1)%3, "get?wait=300ms")); answer.Proved {
			t.Errorf("%s: %+v", query, answer)
		}
	}
}
