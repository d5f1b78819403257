package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// closedBand is a band that has counted and was stopped; spoil is done, and then each of its nodes
// that are started again says why it cannot open the app.
func (p *place) closedBand(spoil func(), why ...string) (*band, []*kgo.Record) {
	p.t.Helper()
	p.topic(p.in, 4)
	b := p.band(3)
	sent := b.events(60, 0)
	b.send(sent...)
	b.counted(sent)
	b.halt()
	spoil()
	b.again()
	for _, n := range b.nodes {
		until(p.t, func() error {
			if n.log.count(append(why, "the app cannot run on this node")...) == 0 {
				return fmt.Errorf("%s does not say why it cannot open the app:\n%s", n.url, n.log)
			}
			return nil
		})
	}
	return b, sent
}

// remadeInput deletes the input and makes it again, empty.
func (p *place) remadeInput() {
	p.t.Helper()
	p.must(p.admin.DeleteTopics(p.ctx(), p.in))
	p.remake(p.in, 4)
	p.connect() // a client that knows nothing of the deleted one
}

// An app that no node of a cluster can open is reset at any of them, while they run, as the error
// says that keeps it closed; then it counts what is there, exactly.
func TestBandResetsWhatCannotBeOpened(t *testing.T) {
	t.Run("the input was made again", func(t *testing.T) {
		p := onFake(t)
		b, _ := p.closedBand(p.remadeInput, "input topic "+p.in, "made again", "tally reset "+p.app)
		anew := b.events(40, 100)
		b.send(anew...)
		if plan := b.nodes[1].reset(api.ResetRequest{DryRun: true}); plan.Done || plan.Generation != 2 || len(plan.Topics) != 2 || len(plan.Start) != 4 {
			t.Errorf("the plan: %+v", plan)
		}
		_, err := b.nodes[0].client.Reset(p.ctx(), p.app, api.ResetRequest{Spec: "app: x\n"})
		says(t, err, "the new spec")
		if answer := b.nodes[2].reset(api.ResetRequest{From: "earliest"}); !answer.Done || answer.Generation != 2 {
			t.Errorf("the answer: %+v", answer)
		}
		b.whole()
		b.countedAnew(2, anew)
		b.nodes[0].reset(api.ResetRequest{}) // and of the app that is open again
		b.whole()
		b.countedAnew(3, anew)
	})
	t.Run("another program wrote to the changelog", func(t *testing.T) {
		keptByShort(t, false)
		p := onFake(t)
		b, sent := p.closedBand(func() { p.tamper([]byte("hello"), []byte("world")) }, "is not a record of tally")
		id := b.appID()
		if answer := b.nodes[1].reset(api.ResetRequest{}); !answer.Done || answer.Generation != 2 {
			t.Errorf("the answer: %+v", answer)
		}
		b.whole()
		b.countedAnew(2, sent)
		if now := b.appID(); now != id {
			t.Errorf("the app's id was %s and is %s", id, now)
		}
	})
}

// appID is the id of the one app.
func (b *band) appID() (id string) {
	b.t.Helper()
	b.until("the app has an id", func(st api.Status) error {
		id = st.Apps[0].AppID
		return nil
	})
	return id
}

// While a reset of an app that cannot be opened is under way there is no other, at no node; and
// with the app it is gone.
func TestBandDeletesWhatCannotBeOpened(t *testing.T) {
	p := onFake(t)
	b, _ := p.closedBand(p.remadeInput, "made again")
	granted := p.refuseDeletes()
	done := b.nodes[0].resetting(api.ResetRequest{})
	until(t, func() error {
		if b.nodes[0].log.count("the app cannot run on this node", "TOPIC_AUTHORIZATION_FAILED") == 0 {
			return errors.New("the reset has not come to the deletion")
		}
		return nil
	})
	for _, n := range b.nodes {
		_, err := n.client.Reset(p.ctx(), p.app, api.ResetRequest{})
		says(t, err, "is being reset by node node-a")
	}
	_, err := b.nodes[1].client.Delete(p.ctx(), p.app, false)
	p.must(err)
	granted.Store(true)
	says(t, <-done, "was deleted while it was being reset")
	b.gone()
	until(t, func() error {
		if _, err := os.Stat(filepath.Join(b.nodes[0].dir, "apps", p.app+".reset.json")); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the intent is left (%v)", err)
		}
		return nil
	})
}

// A reset of an app that cannot be opened is refused where nothing could come of it, and changes
// nothing: no node has it in hand afterwards.
func TestBandResetOfAClosedAppRefused(t *testing.T) {
	p := onFake(t)
	b, _ := p.closedBand(p.remadeInput, "made again")
	nowhere := *p
	nowhere.in = p.in + "-nowhere"
	_, err := b.nodes[0].client.Reset(p.ctx(), p.app, api.ResetRequest{Spec: string(nowhere.spec(wordcount).YAML())})
	says(t, err, "nothing was reset", nowhere.in)
	_, err = b.nodes[0].client.Reset(p.ctx(), p.app+"x", api.ResetRequest{})
	says(t, err, "no app", p.app+"x")
	for _, n := range b.nodes {
		if _, err := os.Stat(filepath.Join(n.dir, "apps", p.app+".reset.json")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("an intent is in %s (%v)", n.dir, err)
		}
	}
	b.nodes[1].reset(api.ResetRequest{})
	b.whole()
	b.countedAnew(2, nil)
}

// What another program has written to a changelog, or a person has deleted, keeps no app from being
// deleted with its topics.
func TestBandDeletesTheTopicsOfSuchAnApp(t *testing.T) {
	t.Run("another program wrote to the changelog", func(t *testing.T) {
		p := onFake(t)
		b, _ := p.closedBand(func() { p.tamper([]byte("hello"), []byte("world")) }, "is not a record of tally")
		answer, err := b.nodes[1].client.Delete(p.ctx(), p.app, true)
		p.must(err)
		if len(answer.Topics) != 2 {
			t.Errorf("it has deleted %v", answer.Topics)
		}
		b.gone()
	})
	t.Run("the changelog is gone", func(t *testing.T) {
		p := onFake(t)
		b, _ := p.closedBand(func() { p.must(p.admin.DeleteTopics(p.ctx(), p.app+".changelog")) })
		_, err := b.nodes[1].client.Delete(p.ctx(), p.app, true)
		p.must(err)
		b.gone()
	})
}
