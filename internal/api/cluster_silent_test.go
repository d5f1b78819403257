package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// lastDigit places a key by its last digit.
func lastDigit(key []byte, n int) int32 { return int32(key[len(key)-1]-'0') % int32(n) }

func nextDigit(key []byte, n int) int32 { return int32(key[len(key)-1]-'0'+1) % int32(n) }

// newSilentCluster is three nodes with a lane each, of which the last one alone answers. The keys
// of lane k are u0 to u8 whose digit is k mod 3.
func newSilentCluster(t *testing.T) (*testApp, *testCluster) {
	return newSilentClusterOf(t, 20*time.Millisecond)
}

// newSilentClusterOf is newSilentCluster where a node that has been asked has so much longer for
// its answer than the wait.
func newSilentClusterOf(t *testing.T, slack time.Duration) (*testApp, *testCluster) {
	a := newTestApp(t, wordcount, 3, 3)
	a.Partitioners = []func([]byte, int) int32{lastDigit, lastDigit}
	c := newTestCluster(t, a, 3, Options{ForwardSlack: slack, StaleTry: 10 * time.Millisecond})
	for i := range 9 {
		a.event(int32(i%3), fmt.Sprint("u", i), "w")
	}
	c.lose()
	return a, c
}

// lose has the first two nodes refuse, and heal has them answer again.
func (c *testCluster) lose() {
	c.change(func() { c.nodes[0].refuses, c.nodes[1].refuses = true, true })
}

func (c *testCluster) heal() {
	c.change(func() { c.nodes[0].refuses, c.nodes[1].refuses = false, false })
}

// Where a cluster has lost two of three nodes, the third answers about the keys of its lane, says
// what is missing, and claims nothing about that. About other keys, and that there is nothing, it
// says nothing.
func TestGetOfALivingLane(t *testing.T) {
	for name, lost := range map[string]func(n *clusterNode, lane *Placement){
		"they refuse":        func(*clusterNode, *Placement) {},
		"they hang":          func(n *clusterNode, _ *Placement) { n.refuses, n.hangs = false, true },
		"they are not alive": func(n *clusterNode, _ *Placement) { n.member.Alive = false },
		"nobody owns a lane": func(_ *clusterNode, lane *Placement) { lane.Owner = "" },
	} {
		a, c := newSilentCluster(t)
		c.change(func() { lost(c.nodes[0], &c.placed[0]); lost(c.nodes[1], &c.placed[1]) })
		for _, q := range []struct {
			query, group string
			status       int
		}{
			{"", `["u5","w"]`, 200}, {"fresh=true", `["u5","w"]`, 200}, {"stale=true", `["u5","w"]`, 200},
			{"after=input_event/2:2", `["u5","w"]`, 200},
			{"", `["u4","w"]`, 503}, {"fresh=true", `["u4","w"]`, 503}, {"stale=true", `["u4","w"]`, 503},
			{"", `["u5","nothing"]`, 503}, {"", `[null,"w"]`, 503}, {"after=input_event/1:0", `["u5","w"]`, 503},
		} {
			status, body := ask(t, "POST", c.url(2, "get?wait=30ms&"+q.query), q.group)
			if status != q.status {
				t.Errorf("%s, %s %s: status %d %s", name, q.query, q.group, status, body)
			}
			if q.status == 200 {
				checkLiving(t, a, body)
			}
		}
	}
}

func checkLiving(t *testing.T, a *testApp, body string) {
	t.Helper()
	answer := decode[GetAnswer](t, body)
	bounds, err := parseToken(&a.App, answer.Token)
	if !answer.Found || string(answer.Values) != `{"count":1}` || !slices.Equal(answer.Silent, []int{0, 1}) ||
		len(answer.Parts) != 1 || answer.Parts[0].Lane != 2 || answer.Parts[0].Role != RoleUnsure ||
		err != nil || len(bounds) != 1 || bounds[0].partition != 2 {
		t.Errorf("%s, the token of which says %+v %v", body, bounds, err)
	}
}

// All parts that come are in the answer: also strays, of lanes that live.
func TestGetFoldsWhatLives(t *testing.T) {
	a, c := newSilentCluster(t)
	a.event(0, "u5", "w w")
	a.event(1, "u5", "w w w w")
	c.change(func() { c.nodes[1].refuses = false })
	_, body := ask(t, "POST", c.url(2, "get?wait=30ms"), `["u5","w"]`)
	if answer := decode[GetAnswer](t, body); string(answer.Values) != `{"count":5}` || !slices.Equal(answer.Silent, []int{0}) {
		t.Error(body)
	}
	c.heal()
	_, body = ask(t, "POST", c.url(2, "get?wait=1m"), `["u5","w"]`)
	if answer := decode[GetAnswer](t, body); string(answer.Values) != `{"count":7}` || strings.Contains(body, "silent") {
		t.Error(body)
	}
}

// A node that has not opened the app is no silent one: what its lane may have is waited for,
// whether it is asked itself or another node.
func TestClosedIsNotSilent(t *testing.T) {
	for node := range 2 {
		_, c := newSilentClusterOf(t, time.Minute)
		c.heal()
		c.change(func() { c.nodes[0].closed = true })
		status, body := ask(t, "POST", c.url(node, "get?wait=30ms"), `["u5","w"]`)
		if status != 503 || !strings.Contains(body, "not open at this node") {
			t.Errorf("asked at %d: status %d %s", node, status, body)
		}
	}
}

// What a living lane has of a key is no answer while the key's own lane is silent, or no lane is
// its own.
func TestGetOfStraysOfASilentLane(t *testing.T) {
	a, c := newSilentCluster(t)
	a.event(2, "u4", "w")
	a.event(2, "<null>", "w")
	for _, group := range []string{`["u4","w"]`, `[null,"w"]`} {
		if status, body := ask(t, "POST", c.url(2, "get?wait=30ms"), group); status != 503 {
			t.Errorf("%s: status %d %s", group, status, body)
		}
	}
}

// A lane about which somebody says something is not silent: what it says is the answer.
func TestALoadingLaneIsNotSilent(t *testing.T) {
	a, c := newSilentClusterOf(t, time.Minute)
	a.setLane(1, func(v *LaneView) { v.Store = nil })
	c.change(func() { c.nodes[1].refuses = false })
	if status, body := ask(t, "POST", c.url(2, "get?wait=30ms"), `["u5","w"]`); status != 503 || !strings.Contains(body, "lane 1 of app wordcount is not loaded") {
		t.Errorf("status %d %s", status, body)
	}
}

// A lane with a copy that has not been asked yet is not silent.
func TestACopyIsAskedFirst(t *testing.T) {
	_, c := newSilentCluster(t)
	c.change(func() {
		c.nodes[1].refuses = false
		c.nodes[1].copies[0] = c.app.lanes[0].Store
		c.placed[0].Standbys = []string{"id-b"}
	})
	if status, body := ask(t, "POST", c.url(2, "get?wait=0s&stale=true"), `["u5","w"]`); status != 503 {
		t.Errorf("status %d %s", status, body)
	}
	_, body := ask(t, "POST", c.url(2, "get?wait=10s&stale=true"), `["u5","w"]`)
	if answer := decode[GetAnswer](t, body); len(answer.Silent) > 0 || len(answer.Parts) != 3 {
		t.Error(body)
	}
}

// A token that has seen something of a silent lane has an answer only where that was without strays
// at this node's last sight of it, and goes on as it was.
func TestTokenOfASilentLane(t *testing.T) {
	a, c := newSilentCluster(t)
	get := func(token string) (int, string) {
		return ask(t, "POST", c.url(2, "get?wait=30ms&min_position="+url.QueryEscape(token)), `["u5","w"]`)
	}
	c.heal()
	_, body := ask(t, "POST", c.url(0, "top"), "")
	token := decode[TopAnswer](t, body).Token
	c.lose()
	if status, body := get(token); status != 503 {
		t.Errorf("c has seen no other lane: status %d %s", status, body)
	}
	c.heal()
	if status, body := get(token); status != 200 {
		t.Fatalf("status %d %s", status, body)
	}
	c.lose()
	c.nodes[2].api.hints.age(2 * hintsTTL)
	status, body := get(token)
	answer := decode[GetAnswer](t, body)
	if status != 200 || !slices.Equal(answer.Silent, []int{0, 1}) || answer.Token != token {
		t.Errorf("status %d %s", status, body)
	}
	newer := newToken(&a.App, []Part{{Partition: 1, Position: map[string]int64{"input_event/1": 4}}})
	if status, body := get(newer); status != 503 {
		t.Errorf("it is of behind what c has seen: status %d %s", status, body)
	}
	c.heal()
	a.event(1, "u5", "w")
	if status, body := get(newer); status != 200 || string(decode[GetAnswer](t, body).Values) != `{"count":2}` {
		t.Fatalf("status %d %s", status, body)
	}
	c.lose()
	if status, body := get(newer); status != 503 {
		t.Errorf("it has seen a stray: status %d %s", status, body)
	}
	if status, body := get(""); status != 200 || len(decode[GetAnswer](t, body).Silent) != 2 {
		t.Errorf("who has seen nothing is told of the silent lanes: status %d %s", status, body)
	}
}

// age makes all that is known older.
func (k *knownHints) age(by time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.apps {
		for lane, known := range a.lanes {
			known.at = known.at.Add(-by)
			a.lanes[lane] = known
		}
	}
}

// A key's lanes are those of the partitioner that explains all events, else of both: in an input
// that has grown the key does not say them.
func TestHomes(t *testing.T) {
	a := newTestApp(t, wordcount, 3, 3)
	a.LaneCount, a.Partitions = 3, 3
	a.Partitioners = []func([]byte, int) int32{lastDigit, nextDigit}
	known := func(partition int32, murmur2, crc32 int64) lanesKnown {
		return lanesKnown{laneHints: laneHints{Murmur2: murmur2, CRC32: crc32}, positions: map[int32]int64{partition: 9}}
	}
	for name, q := range map[string]struct {
		group string
		known map[int]lanesKnown
		want  []int
	}{
		"nothing is known":              {`["u4","w"]`, nil, []int{1, 2}},
		"both explain all":              {`["u4","w"]`, map[int]lanesKnown{0: known(0, 0, 0)}, []int{1, 2}},
		"the first one explains all":    {`["u4","w"]`, map[int]lanesKnown{0: known(0, 0, 5), 1: known(1, 0, 2)}, []int{1}},
		"the other one does":            {`["u4","w"]`, map[int]lanesKnown{0: known(0, 3, 0)}, []int{2}},
		"neither does":                  {`["u4","w"]`, map[int]lanesKnown{0: known(0, 3, 0), 1: known(1, 0, 1)}, []int{1, 2}},
		"the input has grown":           {`["u4","w"]`, map[int]lanesKnown{0: known(3, 9, 9)}, nil},
		"an event without a key":        {`[null,"w"]`, nil, nil},
		"the first one, of another key": {`["u3","w"]`, map[int]lanesKnown{0: known(0, 0, 5)}, []int{0}},
	} {
		rd := &read{app: &a.App}
		got, _, ok := rd.homes(mustGroup(t, a, q.group), q.known)
		if !slices.Equal(got, q.want) || ok != (q.want != nil) {
			t.Errorf("%s: lanes %v, %v", name, got, ok)
		}
	}
}

// In an app of two stages the one lane that counts a group answers, and says that others may have
// read less of the input than there is.
func TestGetOfTwoStagesWithSilentLanes(t *testing.T) {
	s := newStages(t, 3)
	group := `["k","w"]`
	q := int(s.count(group, 4))
	other, asked := (q+1)%3, (q+2)%3
	s.change(func() { s.nodes[other].refuses = true })
	for _, node := range []int{q, asked} {
		for _, query := range []string{"", "fresh=true", "stale=true"} {
			status, body := ask(t, "POST", s.url(node, "get?wait=30ms&"+query), group)
			answer := decode[GetAnswer](t, body)
			if status != 200 || string(answer.Values) != `{"count":4}` || !slices.Equal(answer.Silent, []int{other}) ||
				answer.Parts[0].Role != RoleUnsure || answer.Parts[0].AsOfMs != 0 {
				t.Errorf("%s: status %d %s", query, status, body)
			}
		}
		after := fmt.Sprintf("get?wait=30ms&after=input_event/%d:0", other)
		if status, body := ask(t, "POST", s.url(node, after), group); status != 503 {
			t.Errorf("status %d %s", status, body)
		}
		if status, body := ask(t, "POST", s.url(node, "get?wait=30ms"), `["k","none"]`); status != 503 {
			t.Errorf("status %d %s", status, body)
		}
	}
	s.change(func() { s.nodes[other].refuses, s.nodes[q].refuses = false, true })
	if status, body := ask(t, "POST", s.url(asked, "get?wait=30ms"), group); status != 503 {
		t.Errorf("the lane of the group is silent: status %d %s", status, body)
	}
}
