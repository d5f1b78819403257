package chaos

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// TestFleetCutProof cuts a node of three off from the others, from Kafka, and from both, and heals
// it. The nodes reach each other through proxies that know who dials, and Kafka through one that
// knows each node by its client id.
func TestFleetCutProof(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: it runs real processes for half a minute")
	}
	s := newSuite(t, 1, testkafka.Options{Proxy: true})
	f := &fleet{t: t, s: s, net: link.New(seam.World(), s.seed), brokers: s.cluster.ProxyAddrs()}
	t.Cleanup(f.net.Close)
	f.open(s.bin)
	for _, g := range f.gauges {
		g.watch(t)
	}
	f.begin(fleetRate)
	for _, cut := range []struct {
		name  string
		who   func() string
		from  cutFrom
		short bool // it is of the short run too
	}{
		{"an owner, from the others", f.owner, cutFrom{others: true}, true},
		{"the Raft leader, from the others", f.leader, cutFrom{others: true}, false},
		{"an owner, deaf to the others", f.owner, cutFrom{deaf: true}, false},
		{"an owner, from Kafka", f.owner, cutFrom{kafka: true}, true},
		{"the Raft leader, from Kafka", f.leader, cutFrom{kafka: true}, false},
		{"an owner, from both", f.owner, cutFrom{others: true, kafka: true}, false},
		{"the Raft leader, from both", f.leader, cutFrom{others: true, kafka: true}, true},
	} {
		if only := os.Getenv("CHAOS_FAULTS"); only != "" && !slices.Contains(strings.Split(only, ";"), cut.name) ||
			only == "" && !cut.short && !s.proof {
			continue
		}
		for range map[bool]int{false: 1, true: 3}[s.proof] {
			began := time.Now()
			f.cut("cut off: "+cut.name, cut.who(), cut.from)
			f.verify(3, s.proof)
			t.Logf("%s: verified, %.1f s", cut.name, time.Since(began).Seconds())
			f.begin(fleetRate)
		}
	}
	f.verifyWhole()
	f.table()
}

// cutFrom says from what a node is cut off.
type cutFrom struct {
	others bool // their connections are closed, and none opens
	deaf   bool // what the others send it is lost, and its own words arrive
	kafka  bool
}

// cut cuts a node off, waits until its lanes are counted elsewhere, and heals it.
func (f *fleet) cut(what, name string, from cutFrom) {
	f.t.Helper()
	p := f.up[name]
	delete(f.up, name)
	var heal []func()
	alive := 2
	if !from.others && !from.deaf {
		alive = 3 // the others hear of it that it has lost Kafka
	}
	f.row(what, alive, func() {
		if from.others || from.deaf {
			heal = append(heal, f.cutFromOthers(name, from.deaf))
		}
		if from.kafka {
			hits := f.s.cluster.Proxy(1).Fail(testkafka.Fault{Key: testkafka.AnyKey, Client: "tally-" + name, Do: testkafka.DropRequest})
			heal = append(heal, hits.Remove)
		}
		f.awaitWithout(name)
	})
	f.answersAsNoOwner(p)
	f.row("... healed", 3, func() {
		for _, h := range heal {
			h()
		}
		f.up[name] = p
	})
}

func (f *fleet) cutFromOthers(name string, deaf bool) (heal func()) {
	var all []func() int64
	for _, other := range f.names() {
		if deaf {
			all = append(all, f.net.Break(other, name, link.Rule{Frozen: true}))
		} else {
			all = append(all, f.net.BreakBoth(name, other, link.Rule{Cut: true}))
		}
	}
	return func() {
		for _, h := range all {
			h()
		}
	}
}

// awaitWithout waits until the others say that a node owns nothing.
func (f *fleet) awaitWithout(name string) {
	f.t.Helper()
	eventually(f.t, 20*time.Second, name+" owns nothing any more", func() string {
		st, err := f.status()
		if err != nil {
			return err.Error()
		}
		for _, a := range st.Apps {
			for _, l := range a.Lanes {
				if l.Owner == name {
					return a.App + " has a lane there"
				}
			}
		}
		return ""
	})
}

// answersAsNoOwner: a node that is cut off says of no answer that it comes from the owner.
func (f *fleet) answersAsNoOwner(p *process) {
	f.t.Helper()
	g := f.gauges[0]
	for partition := range partitions {
		of := groupOf(g.keys[partition], g.words[partition][0])
		answer, err := p.client().Get(f.ctx, g.j.app, []byte(of), api.ReadOptions{Wait: time.Millisecond, Stale: true})
		if err != nil {
			continue // it says that it cannot answer
		}
		for _, part := range answer.Parts {
			if part.Role == api.RoleOwner && part.Node == p.m.name {
				f.t.Errorf("node %s is cut off, and answers for lane %d as its owner", p.m.name, part.Lane)
			}
		}
	}
}
