package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
)

// slowDisk holds up all that is done with the stores of an app until it is let go.
type slowDisk struct {
	app     string
	reached chan struct{} // closed once something waits
	once    sync.Once
	let     chan struct{}
}

func newSlowDisk(app string) *slowDisk {
	return &slowDisk{app: app, reached: make(chan struct{}), let: make(chan struct{})}
}

func (d *slowDisk) MaybeError(op errorfs.Op) error {
	if strings.Contains(op.Path, string(filepath.Separator)+d.app+string(filepath.Separator)) {
		d.once.Do(func() { close(d.reached) })
		<-d.let
	}
	return nil
}

func (d *slowDisk) String() string { return "slow" }

func (d *slowDisk) option() option {
	return func(c *Config) { c.StateFS = errorfs.Wrap(vfs.Default, d) }
}

// runsSpec waits until a node runs the app under a spec with these words.
func (n *tally) runsSpec(words string) {
	n.t.Helper()
	until(n.t, func() error {
		info, err := n.client.App(n.p.ctx(), n.p.app)
		if err == nil && !strings.Contains(info.Spec, words) {
			err = fmt.Errorf("it runs %s", info.Spec)
		}
		return err
	})
}

// What is submitted or reset while a node opens the app reaches that node, too.
func TestBandChangesWhileANodeOpens(t *testing.T) {
	for name, change := range map[string]func(b *band){
		"another spec": func(b *band) {
			_, err := b.submit(0, wordcount+"on_error: skip\n")
			b.must(err)
		},
		"a reset": func(b *band) {
			b.nodes[0].resetting(api.ResetRequest{})
			until(b.t, func() error {
				if info, err := b.nodes[0].client.App(b.ctx(), b.app); err != nil || info.Generation != 2 {
					return fmt.Errorf("%+v, %v", info, err)
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 4)
			b := p.band(2, standbys(0))
			b.nodes[1].stop()
			disk := newSlowDisk(b.app)
			b.nodes[1] = b.launch(1, inDir(b.nodes[1].dir), standbys(0), disk.option())
			<-disk.reached
			change(b)
			close(disk.let)
			b.nodes[1].isReady()
			if name == "another spec" {
				b.nodes[1].runsSpec("on_error: skip")
			}
			b.until("both have lanes that run", func(st api.Status) error {
				owners := map[string]bool{}
				for _, l := range st.Apps[0].Lanes {
					if l.State == api.LaneRunning {
						owners[l.Owner] = true
					}
				}
				if len(owners) != 2 || !allRun(st.Apps[0]) {
					return fmt.Errorf("lanes %+v", st.Apps[0].Lanes)
				}
				return nil
			})
			events := b.events(40, 0)
			b.send(events...)
			b.counted(events)
		})
	}
}

// An app that is deleted and submitted again before a node has put it down runs there again.
func TestDeleteAndSubmitAtOnce(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	reached, let := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var armed atomic.Bool
	n := p.start(func(c *Config) {
		c.Step = func(s step.Name) {
			if s == step.EndTxnSent && armed.Load() {
				once.Do(func() { close(reached); <-let })
			}
		}
	})
	armed.Store(true)
	events := []*kgo.Record{event(0, "a", "x")}
	p.send(events...)
	<-reached
	if _, err := n.client.Delete(p.ctx(), p.app, false); err != nil {
		t.Fatal(err)
	}
	submitted := make(chan error, 1)
	go func() {
		s := p.spec(wordcount)
		_, err := n.client.Submit(p.ctx(), p.app, s.YAML(), api.SubmitRequest{})
		submitted <- err
	}()
	<-time.After(100 * time.Millisecond) // so that the cluster has had time to take it
	close(let)
	p.must(<-submitted)
	n.ready()
	events = append(events, event(1, "b", "y"))
	p.send(events[1])
	n.right(events)
}

// A reset that cannot go on ends with the app: what is submitted under its name afterwards counts
// by the spec that it was submitted with.
func TestDeleteEndsAReset(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	granted := p.refuseDeletes()
	done := n.resetting(api.ResetRequest{Spec: string(p.spec(lines2).YAML())})
	n.until("the reset is stuck", func(st api.Status) bool {
		return strings.Contains(st.Apps[0].Lanes[0].Reason, "TOPIC_AUTHORIZATION_FAILED")
	})
	s := p.spec(wordcount)
	_, err := n.client.Submit(p.ctx(), p.app, p.spec(wordcount+"on_error: skip\n").YAML(), api.SubmitRequest{})
	says(t, err, "being reset")
	_, err = n.client.Delete(p.ctx(), p.app, false)
	p.must(err)
	granted.Store(true)
	says(t, <-done, "was deleted while it was being reset")
	_, err = n.client.Submit(p.ctx(), p.app, s.YAML(), api.SubmitRequest{})
	p.must(err)
	n.runsSpec("split: words")
	n.ready()
	if _, err := os.Stat(filepath.Join(n.dir, "apps", p.app+".reset.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the reset of before is still there (%v)", err)
	}
	n.has(count(events))
}

// A deletion that Kafka cannot answer just now, as when a broker is away, goes on when it can: the
// app is there until then, although it counts no more.
func TestDeleteWaitsForKafka(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	n.rightIn(1, events)
	var answers atomic.Bool
	var asked atomic.Int64
	p.fake.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		if answers.Load() {
			return nil, nil, false
		}
		asked.Add(1)
		return nil, errors.New("the broker hangs up"), true
	})
	done := make(chan error, 1)
	go func() {
		_, err := n.client.Delete(p.ctx(), p.app, true)
		done <- err
	}()
	until(t, func() error {
		if n.log.count("Kafka does not answer") == 0 {
			return fmt.Errorf("Kafka was asked %d times", asked.Load())
		}
		return nil
	})
	if st, err := n.client.Status(p.ctx()); err != nil || len(st.Apps) != 1 {
		t.Errorf("while its topics are there, the app is not: %+v (%v)", st.Apps, err)
	}
	answers.Store(true)
	p.must(<-done)
	for _, topic := range spec.OwnTopics(p.app) {
		if _, there, err := p.admin.Topic(p.ctx(), topic); err != nil || there {
			t.Errorf("topic %s is there: %t (%v)", topic, there, err)
		}
	}
}

// What Kafka refuses to delete is said, and the app is gone.
func TestDeleteWithoutTheRight(t *testing.T) {
	p := onFake(t)
	n, _ := counted(p)
	n = p.start(inDir(n.dir))
	n.ready()
	p.refuseDeletes()
	_, err := n.client.Delete(p.ctx(), p.app, true)
	says(t, err, "not all of its topics are deleted", "TOPIC_AUTHORIZATION_FAILED")
	_, err = n.client.Delete(p.ctx(), p.app, true)
	says(t, err, "no app", p.app)
}

// An app that was deleted with its topics, and submitted anew, counts from the beginning once more.
// Its outputs fall behind those that are there, which are not its own: they are of a generation of
// their own, as after a reset.
func TestSubmitAfterADeletionOfTopics(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	n.rightIn(1, events)
	for generation := 2; generation < 4; generation++ {
		_, err := n.client.Delete(p.ctx(), p.app, true)
		p.must(err)
		_, err = n.client.Submit(p.ctx(), p.app, p.spec(wordcount).YAML(), api.SubmitRequest{})
		p.must(err)
		n.rightIn(generation, events)
	}
}

// A reset that is asked for while the last one is just done is carried out.
func TestResetBehindAReset(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	reached, let := make(chan struct{}), make(chan struct{})
	var once, twice sync.Once
	intents := 0
	n = p.start(inDir(n.dir), func(c *Config) {
		c.Step = func(s step.Name) {
			switch s {
			case step.ResetDone: // its intent is about to be removed
				once.Do(func() { close(reached); <-let })
			case step.ResetIntent: // the next one's is on disk
				if intents++; intents == 2 {
					twice.Do(func() { close(let) })
				}
			}
		}
	})
	first := n.resetting(api.ResetRequest{})
	<-reached
	answer, err := n.client.Reset(p.ctx(), p.app, api.ResetRequest{})
	p.must(err)
	if !answer.Done {
		t.Errorf("the second reset: %+v", answer)
	}
	<-first
	n.rightIn(3, events, 0, 0)
}

// A lane that another cluster took over is not fenced back by a submit that follows.
func TestSubmitAfterATakeover(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	first := p.start(named("prod-1"))
	p.stream(2)
	second := p.start(named("prod-2"), takeover())
	for k := range 2 {
		first.lane(k, api.LaneLost)
	}
	_, err := first.client.Submit(p.ctx(), p.app, p.spec(wordcount+"on_error: skip\n").YAML(), api.SubmitRequest{})
	says(t, err, "prod-2", "--takeover")
	<-time.After(200 * time.Millisecond)
	for k := range 2 {
		second.lane(k, api.LaneRunning)
	}
}

// An app that is deleted while a node opens it for the first time does not end the node.
func TestBandDeletesWhileANodeOpens(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2)
	other := b.running("x", 2)
	b.nodes[1].stop()
	var once sync.Once
	var deleted atomic.Bool
	reached := make(chan struct{})
	p.fake.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		for _, t := range r.(*kmsg.ListOffsetsRequest).Topics {
			if t.Topic == other.app+".changelog" && !deleted.Load() {
				once.Do(func() { close(reached) })
				return nil, errors.New("no answer"), true
			}
		}
		return nil, nil, false
	})
	b.nodes[1] = b.launch(1, inDir(b.nodes[1].dir), func(c *Config) { c.Specs = append(c.Specs, p.spec(wordcount), other.spec(wordcount)) })
	<-reached
	_, err := b.nodes[0].client.Delete(p.ctx(), other.app, false)
	p.must(err)
	deleted.Store(true)
	other.gone()
	b.nodes[1].isReady()
	b.whole()
}

// While an app is deleted with its topics, nothing can be submitted under its name that would begin
// with them.
func TestBandSubmitsWhileTopicsGo(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2)
	other := b.running("x", 4)
	events := other.events(20, 0)
	other.send(events...)
	other.counted(events)
	var let atomic.Bool
	reached := make(chan struct{})
	var once sync.Once
	p.fake.ControlKey(int16(kmsg.DeleteGroups), func(kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		if let.Load() {
			return nil, nil, false
		}
		once.Do(func() { close(reached) })
		return nil, errors.New("no answer"), true
	})
	deleted := make(chan error, 1)
	asking, hangUp := context.WithCancel(p.ctx())
	go func() {
		_, err := b.nodes[0].client.Delete(asking, other.app, true)
		deleted <- err
	}()
	<-reached
	hangUp() // it is cut short, and the name stays taken
	if err := <-deleted; err == nil {
		t.Error("it is deleted")
	}
	for _, text := range []string{wordcount + "on_error: skip\n", wordcount} { // another spec, and that of before
		_, err := other.submit(1, text)
		says(t, err, "being deleted")
	}
	let.Store(true)
	_, err := b.nodes[1].client.Delete(p.ctx(), other.app, true)
	p.must(err)
	other.gone()
	_, err = other.submit(1, wordcount)
	p.must(err)
	other.counted(events)
}

// A watch goes on under another spec of the app.
func TestSpecChangesUnderAWatch(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	seen := make(chan string, 100)
	go func() {
		_ = n.client.Watch(p.ctx(), p.app, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error { seen <- string(c.Group); return nil })
	}()
	for range count(events) {
		<-seen
	}
	_, err := n.client.Submit(p.ctx(), p.app, p.spec(wordcount+"on_error: skip\n").YAML(), api.SubmitRequest{})
	p.must(err)
	n.runsSpec("on_error: skip")
	p.send(event(0, "zoe", "zebra"))
	for late := time.After(patience); ; {
		select {
		case group := <-seen:
			if strings.Contains(group, "zoe") {
				return
			}
		case <-late:
			t.Fatal("the watch has not shown the event")
		}
	}
}
