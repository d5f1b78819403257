package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

func (n *tally) reset(req api.ResetRequest) api.ResetAnswer {
	n.t.Helper()
	answer, err := n.client.Reset(n.p.ctx(), n.p.app, req)
	n.p.must(err)
	return answer
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// outputsOf are the last values that one generation wrote to the output; within it each rises.
func (p *place) outputsOf(generation int) map[string]string {
	p.t.Helper()
	last, before := map[string]string{}, map[string]int{}
	for _, r := range p.read(p.out) {
		if header(r, "tally.generation") != strconv.Itoa(generation) {
			continue
		}
		var v struct {
			Item  string `json:"item"`
			Count int    `json:"count"`
		}
		p.must(json.Unmarshal(r.Value, &v))
		group := fmt.Sprintf("[%q,%q]", r.Key, v.Item)
		if at := fmt.Sprintf("%s in %d", group, r.Partition); v.Count <= before[at] {
			p.t.Fatalf("generation %d: the output of %s does not rise: %d after %d", generation, at, v.Count, before[at])
		} else {
			before[at] = v.Count
		}
		last[group] = fmt.Sprintf(`{"count":%d}`, v.Count)
	}
	return last
}

// rightIn holds all that a generation left against a recount of its events: queries, output,
// changelog, position records, consumer group.
func (n *tally) rightIn(generation int, events []*kgo.Record, start ...int64) {
	n.t.Helper()
	p, want := n.p, count(events)
	if st := n.settled(int64(len(events))); st.Generation != generation {
		n.t.Fatalf("generation %d, not %d", st.Generation, generation)
	}
	n.has(want)
	until(n.t, func() error {
		if got := p.outputsOf(generation); !maps.Equal(got, want) {
			return fmt.Errorf("the output's last values\n got %v\nwant %v", got, want)
		}
		return nil
	})
	groups := map[string]bool{}
	records := map[int32]state.PositionRecord{}
	for _, r := range p.read(p.app + ".changelog") {
		kind, _, group, err := state.DecodeKey(r.Key)
		p.must(err)
		switch kind {
		case state.KindValue:
			groups[string(group)] = true
		case state.KindPosition:
			rec, err := state.DecodePosition(r.Value)
			p.must(err)
			records[r.Partition] = rec
			if rec.Generation != generation {
				n.t.Fatalf("the changelog has a position record of generation %d", rec.Generation)
			}
		}
		if g := header(r, "tally.generation"); kind != state.KindBarrier && g != strconv.Itoa(generation) {
			n.t.Fatalf("a changelog record says generation %q", g)
		}
	}
	if len(groups) != len(want) {
		n.t.Fatalf("the changelog has %d groups, not %d", len(groups), len(want))
	}
	for part, rec := range records {
		if at := p.offset(part); at != rec.Input {
			n.t.Errorf("partition %d: the consumer group is at %d, the position record at %d", part, at, rec.Input)
		}
		if len(start) > 0 && rec.Start != start[part] {
			n.t.Errorf("partition %d starts at %d, not %d", part, rec.Start, start[part])
		}
	}
	until(n.t, func() error {
		if _, err := os.Stat(filepath.Join(n.dir, "apps", p.app+".reset.json")); err == nil {
			return errors.New("the intent is still there")
		}
		return nil
	})
}

func TestReset(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 3)
		n := p.start()
		events := sentences(3, 60)
		p.send(events...)
		n.right(events)
		before := n.settled(60)

		plan := n.reset(api.ResetRequest{DryRun: true})
		if plan.Done || plan.Generation != 2 || plan.Group != p.app || len(plan.Topics) != 2 || plan.Topics[1].Records < 20 ||
			plan.Output != p.out || len(plan.Start) != 3 || plan.StateDirs[0] != filepath.Join(n.dir, "state", p.app) {
			t.Errorf("the plan: %+v", plan)
		}
		n.right(events) // nothing was done

		if got := n.reset(api.ResetRequest{From: "earliest"}); !got.Done || got.Generation != 2 {
			t.Errorf("the answer: %+v", got)
		}
		n.rightIn(2, events, 0, 0, 0)
		more := sentences(3, 30)
		p.send(more...)
		events = append(events, more...)
		n.rightIn(2, events)
		if len(p.outputsOf(1)) == 0 {
			t.Error("the old generation's outputs are gone")
		}
		n.stop()
		n = p.start(inDir(n.dir))
		n.rightIn(2, events)
		st := n.settled(90)
		if st.AppID != before.AppID {
			t.Errorf("the app id has changed from %s to %s", before.AppID, st.AppID)
		}
		if st.Lanes[0].Epoch <= before.Lanes[0].Epoch {
			t.Errorf("epoch %d after %d", st.Lanes[0].Epoch, before.Lanes[0].Epoch)
		}
		n.reset(api.ResetRequest{})
		n.rightIn(3, events, 0, 0, 0)
	})
}

func TestResetFrom(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	base := time.Now().Add(-5 * time.Hour).Truncate(time.Second)
	var events []*kgo.Record
	for i := range 5 {
		e := event(0, "a", "x")
		e.Timestamp = base.Add(time.Duration(i) * time.Hour)
		events = append(events, e)
	}
	p.send(events...)
	n := p.start()
	n.right(events)
	for i, c := range []struct {
		from  string
		start int64
	}{
		{"latest", 5},
		{"earliest", 0},
		{"150m", 3},
		{base.Add(time.Hour).UTC().Format(time.RFC3339), 1},
		{base.Add(90 * time.Minute).UTC().Format(time.RFC3339), 2},
		{base.Add(24 * time.Hour).UTC().Format(time.RFC3339), 5}, // no event is as young
		{"", 0},
	} {
		answer := n.reset(api.ResetRequest{From: c.from})
		if got := answer.Start[p.in+"/0"]; got != c.start {
			t.Errorf("--from %q starts at %d, not %d", c.from, got, c.start)
		}
		n.rightIn(i+2, events[c.start:], c.start)
	}
	latest := string(p.spec(strings.Replace(wordcount, "topic: $IN", "topic: $IN, start: latest", 1)).YAML())
	if got := n.reset(api.ResetRequest{Spec: latest, DryRun: true}).Start[p.in+"/0"]; got != 5 {
		t.Errorf("start: latest of the spec starts at %d", got)
	}
}

// A reset while events arrive: the new generation has each event once, none twice.
func TestResetUnderLoad(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	n := p.start()
	var mu sync.Mutex
	var sent []*kgo.Record
	var stop atomic.Bool
	var load sync.WaitGroup
	load.Go(func() {
		for !stop.Load() {
			some := sentences(4, 50)
			for _, e := range some {
				e.Topic = p.in
			}
			if err := p.cl.ProduceSync(t.Context(), some...).FirstErr(); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			sent = append(sent, some...)
			mu.Unlock()
		}
	})
	defer load.Wait()
	defer stop.Store(true)
	for generation := 2; generation <= 4; generation++ {
		n.until("events are counted", func(st api.Status) bool {
			return st.Apps[0].Generation == generation-1 && st.Apps[0].Processed > 200
		})
		n.reset(api.ResetRequest{From: "earliest"})
	}
	stop.Store(true)
	load.Wait()
	n.rightIn(4, sent, 0, 0, 0, 0)
}

const lines2 = "app: $APP\ninput: {topic: $IN}\nsplit: lines\ngroup: [key, item]\noutput: {topic: $OUT}\nlanes: 1\n"

// A reset may bring a new spec: at once, or at the start after one that was cut off.
func TestResetWithSpec(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		p := onFake(t)
		n, _ := counted(p)
		n = p.start(inDir(n.dir))
		n.reset(api.ResetRequest{Spec: string(p.spec(lines2).YAML())})
		st := n.settled(3)
		if len(st.Lanes) != 1 || st.Generation != 2 {
			t.Errorf("%+v", st)
		}
		n.stop()
		says(t, p.refused(inDir(n.dir)), "split", "tally reset "+p.app) // the old spec is refused now
		n = p.start(inDir(n.dir), func(c *Config) { c.Specs = []*spec.Spec{} })
		n.settled(3)
	})
	for _, at := range []step.Name{step.ResetIntent, step.ResetTopics} {
		t.Run("after "+string(at), func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 2)
			p.topic(p.in+"2", 2)
			p.send(event(0, "a", "x y"), event(1, "b", "x"))
			n, _ := resetCutOff(p, at, api.ResetRequest{From: "latest"})
			other := *p
			other.in = p.in + "2"
			other.send(event(0, "a", "1"), event(0, "a", "2"))
			n = other.start(inDir(n.dir), running(other.spec(lines2)))
			other.send(event(0, "a", "3"))
			n.p = &other
			n.rightIn(2, []*kgo.Record{event(0, "a", "3")}, 2, 0)
		})
	}
}

func TestResetRefused(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	p.topic("one", 1)
	for _, c := range []struct {
		app  string
		req  api.ResetRequest
		says string
	}{
		{"nobody", api.ResetRequest{}, "nobody"},
		{p.app, api.ResetRequest{From: "yesterday"}, "yesterday"},
		{p.app, api.ResetRequest{Spec: "app: x"}, "the new spec:1"},
		{p.app, api.ResetRequest{Spec: "app: other\ninput: {topic: x}\ngroup: [key]\n"}, "of app other"},
		{p.app, api.ResetRequest{Spec: string(p.spec(wordcount + "lanes: 3\n").YAML())}, "lanes: 3"},
		{p.app, api.ResetRequest{Spec: string(p.spec("app: $APP\ninput: {topic: $IN}\nsplit: words\ngroup: [item]\nrepartition: never\n").YAML())}, "not local"},
		{p.app, api.ResetRequest{Spec: string(p.spec("app: $APP\ninput: {topic: nothing}\ngroup: [key]\n").YAML())}, "nothing"},
		{p.app, api.ResetRequest{Spec: string(p.spec("app: $APP\ninput: {topic: $IN}\ngroup: [key]\noutput: {topic: one}\n").YAML())}, "1 partitions"},
	} {
		_, err := n.client.Reset(p.ctx(), c.app, c.req)
		says(t, err, c.says)
	}
	n.right(events)
}

// An app that another node has taken is not reset from here.
func TestResetOfALostLane(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start()
	b := p.start(named("node-b"), takeover())
	p.send(event(0, "a", "x"), event(1, "b", "x"))
	b.settled(2)
	n.lane(0, api.LaneLost)
	_, err := n.client.Reset(p.ctx(), p.app, api.ResetRequest{})
	says(t, err, "node-b")
}

// A reset is a way out of a changelog that is gone or spoilt.
func TestResetOfALostChangelog(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	events := []*kgo.Record{event(0, "a", "x"), event(1, "b", "x")}
	p.send(events...)
	n := p.start()
	n.right(events)
	p.must(p.admin.DeleteTopics(p.ctx(), p.app+".changelog"))
	n.reset(api.ResetRequest{})
	n.rightIn(2, events, 0, 0)
	p.tamper([]byte("hello"), []byte("world"))
	n.reset(api.ResetRequest{})
	n.rightIn(3, events, 0, 0)
}

// A watch of the old generation ends and says why.
func TestResetEndsWatch(t *testing.T) {
	p := onFake(t)
	n, _ := counted(p)
	n = p.start(inDir(n.dir))
	ended, began := make(chan error, 1), make(chan bool, 100)
	go func() {
		ended <- n.client.Watch(p.ctx(), p.app, nil, api.ReadOptions{Wait: -1}, func(api.Count) error { began <- true; return nil })
	}()
	<-began
	n.reset(api.ResetRequest{})
	select {
	case err := <-ended:
		says(t, err, "reset meanwhile")
	case <-time.After(patience):
		t.Fatal("the watch goes on")
	}
}

// A reset that was noted while no node ran is carried out by the next start, also of an app that
// could not have started as it was.
func TestNotedReset(t *testing.T) {
	note := func(p *place, dir, from string, s *spec.Spec) {
		p.t.Helper()
		file, err := NoteReset(dir, p.app, from, s, seam.World())
		p.must(err)
		if _, err := os.Stat(file); err != nil {
			p.t.Error(err)
		}
	}
	t.Run("the spec does not fit", func(t *testing.T) {
		p := onFake(t)
		n, _ := counted(p)
		other := running(p.spec(lines2))
		says(t, p.refused(inDir(n.dir), other), "tally reset "+p.app)
		note(p, n.dir, "", nil)
		n = p.start(inDir(n.dir), other)
		n.rightIn(2, []*kgo.Record{event(0, "a", "x"), event(0, "a", "y"), event(1, "b", "x")}, 0, 0)
	})
	t.Run("with the spec", func(t *testing.T) {
		p := onFake(t)
		n, _ := counted(p)
		note(p, n.dir, "1h", nil)
		note(p, n.dir, "latest", p.spec(lines2)) // the last word counts
		n = p.start(inDir(n.dir), func(c *Config) { c.Specs = []*spec.Spec{} })
		p.send(event(1, "b", "z"))
		n.rightIn(2, []*kgo.Record{event(1, "b", "z")}, 2, 1)
	})
	t.Run("the input was made again", func(t *testing.T) {
		p := onFake(t)
		n, _ := counted(p)
		p.must(p.admin.DeleteTopics(p.ctx(), p.in))
		p.topic(p.in, 2)
		p.connect() // a client that knows nothing of the deleted one
		again := []*kgo.Record{event(1, "b", "z")}
		p.send(again...)
		says(t, p.refused(inDir(n.dir)), "made again", "tally reset "+p.app)
		note(p, n.dir, "earliest", nil)
		n = p.start(inDir(n.dir))
		n.rightIn(2, again, 0, 0)
	})
	t.Run("the changelog is gone", func(t *testing.T) { // only the output knows the generation
		p := onFake(t)
		n, events := counted(p)
		n = p.start(inDir(n.dir))
		n.reset(api.ResetRequest{})
		n.rightIn(2, events)
		n.stop()
		p.must(p.admin.DeleteTopics(p.ctx(), p.app+".changelog"))
		says(t, p.refused(inDir(n.dir)), "the changelog was deleted")
		note(p, n.dir, "", nil)
		n = p.start(inDir(n.dir))
		n.rightIn(3, events, 0, 0)
	})
	t.Run("refused", func(t *testing.T) {
		p := onFake(t)
		p.topic(p.in, 1)
		n, _ := resetCutOff(p, step.ResetOffsets, api.ResetRequest{})
		_, err := NoteReset(n.dir, p.app, "", nil, seam.World())
		says(t, err, "generation 2 is under way", "`tally run` ends it")
		n = p.start(inDir(n.dir))
		_, err = NoteReset(n.dir, p.app, "", nil, seam.World())
		says(t, err, "in use by another node")
	})
}

// resetting asks for a reset, and gives what it comes to.
func (n *tally) resetting(req api.ResetRequest) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := n.client.Reset(n.p.ctx(), n.p.app, req)
		done <- err
	}()
	return done
}

// refuseDeletes has Kafka refuse to delete topics until it is granted.
func (p *place) refuseDeletes() (granted *atomic.Bool) {
	granted = new(atomic.Bool)
	p.fake.ControlKey(int16(kmsg.DeleteTopics), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		if granted.Load() {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.DeleteTopicsResponse)
		for _, t := range r.(*kmsg.DeleteTopicsRequest).Topics {
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.Topic, rt.ErrorCode = t.Topic, kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	return granted
}

// A right that is missing in the middle of a reset holds it up, is said, and once granted it goes
// on; meanwhile another reset is refused.
func TestResetWaitsForRights(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	granted := p.refuseDeletes()
	done := n.resetting(api.ResetRequest{})
	n.until("the status says what is missing", func(st api.Status) bool {
		return strings.Contains(st.Apps[0].Lanes[0].Reason, "being reset") &&
			strings.Contains(st.Apps[0].Lanes[0].Reason, "TOPIC_AUTHORIZATION_FAILED")
	})
	_, err := n.client.Reset(p.ctx(), p.app, api.ResetRequest{})
	says(t, err, "being reset already")
	granted.Store(true)
	p.must(<-done)
	n.rightIn(2, events, 0, 0)
}
