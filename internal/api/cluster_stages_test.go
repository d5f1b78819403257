package api

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// stages is a cluster with an app of two stages: lane k reads input partition k and counts
// partition k of the repartition topic, at node k.
type stages struct {
	*testCluster
	mu   sync.Mutex
	read map[int32]int64 // of the input partitions
	ends map[int32]int64
	sent map[int]map[int32]int64 // by lane
	at   map[int32]int64         // of the source partitions, how far they are counted
}

func newStages(t *testing.T, lanes int) *stages {
	a := newTestApp(t, wordcount, lanes, lanes)
	a.Source, a.Repartitions = "wordcount.repartition", lanes
	s := &stages{read: map[int32]int64{}, ends: map[int32]int64{}, sent: map[int]map[int32]int64{}, at: map[int32]int64{}}
	locked := func(of map[int32]int64) func(int32) int64 {
		return func(p int32) int64 { s.mu.Lock(); defer s.mu.Unlock(); return of[p] }
	}
	for k := range lanes {
		sent := map[int32]int64{}
		s.sent[k] = sent
		a.setLane(k, func(v *LaneView) {
			v.Inputs, v.Read, v.Sent, v.Input = []int32{int32(k)}, locked(s.read), locked(sent), locked(s.at)
			v.InputLag = func(p int32) int64 { s.mu.Lock(); defer s.mu.Unlock(); return s.ends[p] - s.read[p] }
			v.Lag = func(q int32) int64 {
				s.mu.Lock()
				defer s.mu.Unlock()
				var end int64
				for _, of := range s.sent {
					end = max(end, of[q])
				}
				return end - s.at[q]
			}
		})
	}
	s.testCluster = newTestCluster(t, a, lanes, Options{FreshWait: time.Minute})
	return s
}

func (s *stages) set(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// count gives a group a value in its partition.
func (s *stages) count(group string, n int64) (partition int32) {
	s.t.Helper()
	g := mustGroup(s.t, s.app, group)
	partition = spec.Partition(g, s.app.Repartitions)
	v := s.app.lanes[partition]
	s.app.txn++
	rec := state.PositionRecord{Task: v.Tasks[0], AppID: s.app.ID, Txn: s.app.txn}
	if err := v.Store.Publish([]state.Position{{Record: rec, Changelog: int64(s.app.txn)}},
		[]state.Change{{Task: v.Tasks[0], Group: g, Values: mustValues(s.app, n)}}); err != nil {
		s.t.Fatal(err)
	}
	return partition
}

// --after on the input goes to the node that reads it, and from there to those that count.
func TestAfterAcrossTwoStages(t *testing.T) {
	s := newStages(t, 3)
	group := `["k","w"]`
	q := s.count(group, 1)
	reader := (int(q) + 1) % 3 // another node than the one that counts
	get := func(wait string) (int, string) {
		return ask(t, "POST", s.url((int(q)+2)%3, "get?wait="+wait+"&after=input_event/"+string(rune('0'+reader))+":0"), group)
	}
	if status, body := get("20ms"); status != 504 || !strings.Contains(body, "is read up to offset -1, and 0 was asked for") {
		t.Fatalf("status %d %s", status, body)
	}
	s.set(func() { s.read[int32(reader)], s.ends[int32(reader)], s.sent[reader][q] = 1, 1, 5 })
	if status, body := get("20ms"); status != 504 || !strings.Contains(body, "is counted up to offset -1, and") {
		t.Fatalf("status %d %s", status, body)
	}
	done := make(chan string, 1)
	go func() {
		_, body := get("1m")
		done <- body
	}()
	s.askedOf(int(q))
	eventually(t, "who counts is asked", func() bool { return strings.Contains(strings.Join(s.askedOf(int(q)), " "), "get") })
	s.count(group, 2)
	s.set(func() { s.at[q] = 5 })
	if answer := decode[GetAnswer](t, <-done); string(answer.Values) != `{"count":2}` || len(answer.Parts) != 1 {
		t.Fatalf("%+v", answer)
	}
	if status, body := ask(t, "POST", s.url(0, "get?wait=20ms&after=input_event/9:0"), group); status != 400 {
		t.Fatalf("status %d %s", status, body)
	}
}

// The lag of an answer has what of the input is not read yet, wherever it is read; and that a group
// has no values is only said when none is left.
func TestAbsenceAcrossTwoStages(t *testing.T) {
	s := newStages(t, 3)
	group := `["k","w"]`
	q := int(spec.Partition(mustGroup(t, s.app, group), 3))
	reader := (q + 1) % 3
	s.set(func() { s.ends[int32(reader)] = 4 })
	_, body := ask(t, "POST", s.url(q, "get?wait=0s"), group)
	if answer := decode[GetAnswer](t, body); answer.Found || answer.Parts[0].Lag != 4 {
		t.Fatal(body)
	}
	for _, query := range []string{"wait=1m", "wait=1m&fresh=true"} {
		done := make(chan string, 1)
		go func() {
			_, body := ask(t, "POST", s.url(q, "get?"+query), group)
			done <- body
		}()
		s.askedOf(reader)
		eventually(t, "the reader is asked", func() bool { return len(s.askedOf(reader)) > 0 })
		s.set(func() { s.read[int32(reader)] = s.ends[int32(reader)] })
		if answer := decode[GetAnswer](t, <-done); answer.Found || answer.Parts[0].Lag != 0 {
			t.Fatalf("%s: %+v", query, answer)
		}
		s.set(func() { s.ends[int32(reader)]++ })
	}
	// Other groups are counted where they are, and a scan has all of them.
	s.set(func() { s.read[int32(reader)] = s.ends[int32(reader)] })
	var want []string
	for _, g := range []string{`["a","w"]`, `["b","w"]`, `["c","w"]`, `["d","w"]`} {
		s.count(g, 1)
		want = append(want, `{"group":`+g+`,"values":{"count":1}}`)
	}
	for node := range 3 {
		_, body := ask(t, "POST", s.url(node, "scan"), "")
		if !strings.HasPrefix(body, strings.Join(want, "\n")+"\n") {
			t.Errorf("%s", body)
		}
		for _, g := range []string{`["a","w"]`, `["b","w"]`, `["c","w"]`, `["d","w"]`} {
			if _, body := ask(t, "POST", s.url(node, "get?wait=1s"), g); string(decode[GetAnswer](t, body).Values) != `{"count":1}` {
				t.Errorf("%s", body)
			}
		}
	}
}

// An answer is as old, and as sure, as what those say that read the input: any of them may have an
// event of the group.
func TestAgeAcrossTwoStages(t *testing.T) {
	s := newStages(t, 3)
	group := `["k","w"]`
	q := s.count(group, 1)
	reader := int(q+1) % 3
	s.set(func() { s.ends[int32(reader)] = 4 })
	parts := func(verb string) []Part {
		body := map[string]string{"get": group}[verb]
		status, text := ask(t, "POST", s.url(int(q), verb+"?wait=0s"), body)
		if status != 200 {
			t.Fatalf("%s: status %d %s", verb, status, text)
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		return decode[struct{ Parts []Part }](t, lines[len(lines)-1]).Parts
	}
	for _, c := range []struct {
		asOf int64
		role Role
		want Role
	}{{12345, RoleOwner, RoleOwner}, {54321, RoleUnsure, RoleUnsure}, {1, RoleLost, RoleUnsure}} {
		s.app.setLane(reader, func(v *LaneView) {
			s.app.roles[reader], v.AsOfMs = c.role, func() int64 { return c.asOf }
		})
		for _, verb := range []string{"get", "top", "scan"} {
			for _, p := range parts(verb) {
				own := p.Partition == int32(reader) && c.role == RoleLost
				if p.AsOfMs != c.asOf || p.InputLag != 4 || p.Lag != 4 || p.Role != c.want && !own {
					t.Errorf("%s, a reader that is %s as of %d: %+v", verb, c.role, c.asOf, p)
				}
			}
		}
	}
}

// A node of an older release says neither age nor role of what it reads: both are unknown, and what
// it does say is taken.
func TestInputOfAnOlderRelease(t *testing.T) {
	answer := decode[sentAnswer](t, `{"lanes":[{"lane":1,"sent":{"0":7},"lag":2,"proved":true},`+
		`{"lane":0,"sent":{},"lag":1,"proved":true,"as_of_ms":9,"role":"owner"}]}`)
	if in := inputOf(answer.Lanes); *in != (inputRead{lag: 3}) {
		t.Errorf("%+v", in)
	}
	if in := inputOf(answer.Lanes[1:]); *in != (inputRead{lag: 1, asOfMs: 9, owned: true}) {
		t.Errorf("%+v", in)
	}
	p := Part{Role: RoleOwner, AsOfMs: 5, Lag: 1}
	(&read{input: inputOf(answer.Lanes), app: &App{}}).addInput(&p)
	if p.Role != RoleUnsure || p.AsOfMs != 0 || p.Lag != 4 || p.InputLag != 3 {
		t.Errorf("%+v", p)
	}
	(&read{}).addInput(&p) // of one stage
	if p.Lag != 4 {
		t.Errorf("%+v", p)
	}
}

// What the first stage has sent since the end of the source was looked up is in neither of the two
// lags, and behind the position all the same.
func TestLagOfWhatWasSentSince(t *testing.T) {
	rd := &read{input: &inputRead{lag: 5, owned: true, asOfMs: 9}, soft: map[int32]int64{2: 40}, app: &App{Source: "r", Repartitions: 3}}
	name := sourceName(rd.app, 2)
	for _, test := range []struct {
		at, lag, want int64
	}{{40, 0, 5}, {40, 3, 8}, {30, 3, 15}} {
		p := Part{Partition: 2, Role: RoleOwner, Position: map[string]int64{name: test.at}, Lag: test.lag, AsOfMs: 9}
		if rd.addInput(&p); p.Lag != test.want || p.InputLag != 5 {
			t.Errorf("at %d, lag %d: %+v, want a lag of %d", test.at, test.lag, p, test.want)
		}
	}
}

// A fresh answer has what the input held when the question came, through both stages.
func TestFreshAcrossTwoStages(t *testing.T) {
	s := newStages(t, 3)
	group := `["k","w"]`
	q := s.count(group, 1)
	reader := (q + 1) % 3
	s.set(func() { s.ends[reader] = 1 })
	done := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", s.url(int(q+2)%3, "get?wait=1m&fresh=true"), group)
		done <- body
	}()
	eventually(t, "who reads is asked", func() bool { return len(s.askedOf(int(reader))) > 0 })
	s.set(func() { s.sent[int(reader)][q], s.read[reader] = 7, 1 })
	eventually(t, "who counts is asked", func() bool { return strings.Contains(strings.Join(s.askedOf(int(q)), " "), "get") })
	s.count(group, 2)
	s.set(func() { s.at[q] = 7 })
	if answer := decode[GetAnswer](t, <-done); string(answer.Values) != `{"count":2}` || answer.Parts[0].Lag != 0 {
		t.Fatalf("%+v", answer)
	}
}

// A standby knows how far the input is read, and not what its owner has sent of it: it neither
// waits for that nor says that there is nothing to come.
func TestStaleStandbyOfTheInput(t *testing.T) {
	s := newStages(t, 3)
	group := `["k","w"]`
	q := int(spec.Partition(mustGroup(t, s.app, group), 3))
	reader := (q + 1) % 3
	s.set(func() { s.read[int32(reader)], s.ends[int32(reader)] = 1, 1 })
	s.app.setLane(reader, func(v *LaneView) { s.app.roles[reader] = RoleStandby })
	status, body := ask(t, "POST", s.url(q, "get?stale=true&wait=20ms&after=input_event/"+string(rune('0'+reader))+":0"), group)
	if status != 504 || !strings.Contains(body, "does not know how far it was sent on") {
		t.Errorf("status %d %s", status, body)
	}
	_, body = ask(t, "POST", s.url(q, "get?stale=true&wait=20ms"), group)
	if answer := decode[GetAnswer](t, body); answer.Found || answer.Proved {
		t.Errorf("%+v", answer)
	}
}
