package node

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
)

func saidStandbys(n int) option {
	return func(c *Config) { c.Standbys, c.StandbysSaid = n, true }
}

// copies waits until each lane of the app has so many standbys, and no more, and no node misses
// any.
func (b *band) copies(n int) {
	b.t.Helper()
	b.standbys = n
	b.whole()
	b.until(fmt.Sprintf("each lane has %d standbys", n), func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if len(l.Standbys) != n {
				return fmt.Errorf("lane %d has %v", l.Lane, l.Standbys)
			}
		}
		for _, problem := range st.Problems {
			if strings.Contains(problem, "standby") {
				return errors.New(problem)
			}
		}
		return nil
	})
}

// The number of standbys is of the app, not of the node that is asked or started: a submit that
// names one changes it, one that names none leaves it, and a start that names another says so.
func TestBandChangesStandbys(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(2))
	b.copies(2)
	load := p.stream(4)
	// At one node: another may not have heard of the last change yet.
	submit := func(text string, standbys *int) api.SubmitAnswer {
		t.Helper()
		s := b.spec(text)
		answer, err := b.nodes[1].client.Submit(p.ctx(), s.App, s.YAML(), api.SubmitRequest{Standbys: standbys})
		p.must(err)
		return answer
	}
	none, one := 0, 1
	skips := wordcount + "on_error: skip\n"
	for _, c := range []struct {
		text   string
		asked  *int
		change string
		got    int
	}{
		{wordcount, nil, api.ChangeNone, 2},
		{wordcount, &one, api.ChangeStandbys, 1},
		{wordcount, &one, api.ChangeNone, 1},
		{skips, nil, api.ChangeUpdated, 1},
		{skips, &none, api.ChangeStandbys, 0},
		{wordcount, &one, api.ChangeUpdated, 1},
	} {
		answer := submit(c.text, c.asked)
		if answer.Change != c.change || answer.Standbys != c.got || answer.Generation != 1 {
			t.Errorf("%q: the answer is %+v; want %s, %d", c.text, answer, c.change, c.got)
		}
		b.copies(c.got)
	}
	b.exact(load())

	other := b.beside("two", 4)
	if answer, err := other.submit(1, wordcount); err != nil || answer.Standbys != api.StandbysDefault {
		t.Errorf("a new app at a node with --standbys 2: %+v, %v", answer, err)
	}
	other.appRuns()
	b.halt()
	for i, n := range b.nodes {
		b.nodes[i] = b.launch(i, inDir(n.dir), noSpecs(), saidStandbys(2))
	}
	for _, n := range b.nodes {
		n.isReady()
		for _, app := range []string{p.app, other.app} {
			if said := n.log.count("level=WARN", "app "+app+" keeps 1; to give it 2, run `tally submit --standbys 2 FILE`"); said != 1 {
				t.Errorf("%s says %d times that app %s keeps its number", n.url, said, app)
			}
		}
	}
	if answer := submit(wordcount, nil); answer.Change != api.ChangeNone || answer.Standbys != 1 {
		t.Errorf("after a start with --standbys 2: %+v", answer)
	}
}

// A start that adds the app, or has no number that a person has said, says nothing.
func TestStandbysOfANewApp(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start(saidStandbys(2))
	answer, err := n.client.Submit(p.ctx(), p.app, p.spec(wordcount).YAML(), api.SubmitRequest{})
	if err != nil || answer.Standbys != 2 {
		t.Errorf("the app was added with --standbys 2: %+v, %v", answer, err)
	}
	n.stop()
	again := p.start(inDir(n.dir), standbys(1))
	for _, m := range []*tally{n, again} {
		if m.log.count("--standbys") > 0 {
			t.Errorf("it is said:\n%s", m.log)
		}
	}
}

// A submit that looks at Kafka does not undo what another has changed meanwhile.
func TestSubmitBesideAnother(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start()
	var let atomic.Bool
	var once sync.Once
	reached := make(chan struct{})
	p.fake.ControlKey(int16(kmsg.DescribeGroups), func(kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		if let.Load() {
			return nil, nil, false
		}
		once.Do(func() { close(reached) })
		return nil, errors.New("no answer"), true
	})
	submit := func(text string, standbys *int) (api.SubmitAnswer, error) {
		return n.client.Submit(p.ctx(), p.app, p.spec(text).YAML(), api.SubmitRequest{Standbys: standbys})
	}
	slow := make(chan api.SubmitAnswer, 1)
	go func() {
		answer, err := submit(wordcount+"on_error: skip\n", nil)
		if err != nil {
			t.Error(err)
		}
		slow <- answer
	}()
	<-reached
	two := 2
	if answer, err := submit(wordcount, &two); err != nil || answer.Change != api.ChangeStandbys {
		t.Errorf("the number: %+v, %v", answer, err)
	}
	let.Store(true)
	if answer := <-slow; answer.Standbys != 2 || answer.Change != api.ChangeUpdated {
		t.Errorf("the spec: %+v", answer)
	}
}
