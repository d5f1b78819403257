package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
)

// Two of three nodes are gone at once: the one that is left answers about the keys of its lanes,
// names the lanes for which nobody answers, and says nothing about their keys.
func TestBandAnswersAlone(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	var net *bandNet
	b := p.band(3, standbys(1), func(c *Config) {
		if len(c.Join) == 0 {
			return // of no node
		}
		if net == nil {
			net = newBandNet(c.Join)
		}
		for i := range 3 {
			if c.Name == nodeName(i) {
				c.Seam.Dial = net.dialFrom(i)
			}
		}
	})
	sent := b.events(100, 0)
	b.send(sent...)
	b.counted(sent)
	for i := range 3 {
		b.until("it has a lane", b.hasLane(nodeName(i)))
	}
	net.set(0, linkCut) // they hand nothing over, as killed ones
	net.set(1, linkCut)
	defer func() { net.set(0, linkUp); net.set(1, linkUp) }() // so that they can stop
	until(t, func() error {
		own, silent, err := b.lanesAlone()
		for i := range 7 {
			key := fmt.Sprintf("user-%d", i)
			if err == nil {
				alive := slices.Contains(own, int(kafka.PartitionMurmur2([]byte(key), 4)))
				group := fmt.Sprintf(`[%q,"and"]`, key)
				if err = b.askAlone(group, alive, silent, count(sent)); err == nil {
					err = b.watchAlone(group, alive, silent, count(sent))
				}
			}
		}
		return err
	})

	before, err := b.nodes[2].client.Status(b.ctx())
	p.must(err)
	more := b.events(100, 100)
	b.send(more...)
	all := append(sent, more...)
	until(t, func() error { // each counts on what it owns
		own, silent, err := b.lanesAlone()
		for i := range 7 {
			key := fmt.Sprintf("user-%d", i)
			if err == nil && slices.Contains(own, int(kafka.PartitionMurmur2([]byte(key), 4))) {
				err = b.askAlone(fmt.Sprintf(`[%q,"and"]`, key), true, silent, count(all))
			}
		}
		return err
	})
	now, err := b.nodes[2].client.Status(b.ctx())
	p.must(err)
	if was, is := owned(before), owned(now); !slices.Equal(was, is) {
		t.Errorf("without a majority %v has become %v", was, is)
	}
	net.set(0, linkUp)
	net.set(1, linkUp)
	b.whole()
	b.exact(all)
}

// owned says who owns each lane of the one app, and under which epoch.
func owned(st api.Status) (lanes []string) {
	for _, l := range st.Apps[0].Lanes {
		lanes = append(lanes, fmt.Sprintf("%d: %s in %d", l.Lane, l.Owner, l.Epoch))
	}
	return lanes
}

// lanesAlone are the lanes that the last node runs, and those of the others, once nobody decides
// any more.
func (b *band) lanesAlone() (own, silent []int, err error) {
	st, err := b.nodes[2].client.Status(b.ctx())
	if err != nil || st.Leader != "" {
		return nil, nil, fmt.Errorf("the leader is %q: %v", st.Leader, err)
	}
	for _, l := range st.Apps[0].Lanes {
		switch {
		case l.Owner != nodeName(2):
			silent = append(silent, l.Lane)
		case l.State != api.LaneRunning:
			return nil, nil, fmt.Errorf("lane %d is %s", l.Lane, l.State)
		default:
			own = append(own, l.Lane)
		}
	}
	if len(own) == 0 || len(silent) == 0 {
		b.t.Fatalf("lanes %v are its own, and %v of others", own, silent)
	}
	return own, silent, nil
}

// askAlone asks the last node for a group, of a living lane or of a silent one. A stale answer may
// have more lanes.
func (b *band) askAlone(group string, alive bool, silent []int, want map[string]string) error {
	left := b.nodes[2].client
	opt := api.ReadOptions{Wait: 50 * time.Millisecond, Fresh: true}
	got, err := left.Get(b.ctx(), b.app, []byte(group), opt)
	switch {
	case !alive && err == nil:
		return fmt.Errorf("%s of a silent lane is answered: %+v", group, got)
	case !alive:
		return nil
	case err != nil || string(got.Values) != want[group] || !slices.Equal(got.Silent, silent) || got.Parts[0].Role != api.RoleUnsure:
		return fmt.Errorf("%s: %+v, not %s without lanes %v: %v", group, got, want[group], silent, err)
	}
	opt.Stale = true
	if got, err := left.Get(b.ctx(), b.app, []byte(group), opt); err != nil || string(got.Values) != want[group] {
		return fmt.Errorf("%s: a stale answer is %+v, not %s: %v", group, got, want[group], err)
	}
	return nil
}

// watchAlone is askAlone of the first line of a watch.
func (b *band) watchAlone(group string, alive bool, silent []int, want map[string]string) error {
	first := errors.New("it has come")
	var got api.Count
	err := b.nodes[2].client.Watch(b.ctx(), b.app, []byte(group), api.ReadOptions{Wait: 50 * time.Millisecond}, func(c api.Count) error {
		got = c
		return first
	})
	switch came := errors.Is(err, first); {
	case came != alive:
		return fmt.Errorf("a watch of %s: %+v %v; its lane lives: %v", group, got, err, alive)
	case came && (string(got.Values) != want[group] || !slices.Equal(got.Silent, silent)):
		return fmt.Errorf("a watch of %s: %+v, not %s without lanes %v", group, got, want[group], silent)
	}
	return nil
}
