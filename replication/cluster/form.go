package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

// verdict is what the seeds' answers come to; one field is set.
type verdict struct {
	wait   error              // why there is nothing to do yet, for a person
	warn   bool               // and no waiting mends it: somebody has to
	refuse error              // why this node cannot go on
	join   string             // an address of a node of the cluster that there is
	form   []consensus.Server // what this node is to form a cluster of
}

// judge says what a node that is in no cluster does after it has asked its seeds. It is a pure
// function of the answers.
func judge(c Config, answers []answer) verdict {
	here, clash, err := strangers(c, answers)
	if err != nil {
		return verdict{refuse: err}
	}
	if v, ok := existing(c, answers); ok {
		return v
	}
	if len(here) > 0 && here[0] == c.ID { // this node is one of the seeds
		for _, a := range answers {
			if a.hello == nil || !a.hello.Empty || slices.Equal(a.hello.Seeds, c.Seeds) {
				continue // one that is in a group already forms none: this node joins it, once it has a name
			}
			if clash = otherSeeds(c, a); !first(c, a.hello) {
				return verdict{refuse: clash}
			}
		}
	}
	if clash != nil {
		return verdict{wait: fmt.Errorf("%w; this node waits until that is mended", clash), warn: true}
	}
	if missing := silent(answers); missing != nil {
		return verdict{wait: fmt.Errorf("these seeds do not answer: %w", missing), warn: untrusted(missing)}
	}
	if here[0] != c.ID {
		return verdict{wait: fmt.Errorf("no cluster at %s yet. This node is not in its own --join, so it forms none: "+
			"the nodes that form one are all started with the same --join, which names all of them", strings.Join(c.Seeds, ", "))}
	}
	for _, a := range answers {
		if h := a.hello; h.NodeID != c.ID && (h.Forming || !h.Empty) {
			return verdict{wait: fmt.Errorf("node %s at %s is forming the cluster", h.Name, a.seed)}
		}
	}
	return lowest(c, answers)
}

// first reports whether this node's process was there before another's with which it cannot form a
// cluster: the later one ends, so that a mistake on one machine ends none that waits on another. By
// clocks that differ another one ends than a person would have chosen, and no more. Where the two
// times are equal, or one is not known, neither was first, and both end.
//
// It decides who ends, never who forms. Of three seeds a node forms the cluster only when all three
// answer with its own list and with names of their own: two that agree do not form it over a wrong
// third, nor while that one is down, and each of two with different lists finds the other's in its
// way. That a node waits where it might have ended adds nothing to this: it forms, if at all, after
// it has found all well in two rounds of asking, as one would that was started just then.
func first(c Config, other *Hello) bool {
	mine := unixMs(c.Started)
	return mine != 0 && other.StartedMs != 0 && mine < other.StartedMs
}

// strangers returns the ids of the seeds that have answered, this node's own first if it is among
// them. err says why this node can be in no cluster with them, clash why two of them cannot, of
// whom it need not be this one that ends.
func strangers(c Config, answers []answer) (ids []string, clash, err error) {
	self := &Hello{NodeID: c.ID, Name: c.Name, Addr: c.Addr}
	byName := map[string]answer{c.Name: {hello: self}}
	byID := map[string]string{}
	for _, a := range answers {
		h := a.hello
		if h == nil {
			continue
		}
		if isCopy(c, h) {
			return nil, nil, copied(c, h)
		}
		switch other, ok := byName[h.Name]; {
		case !ok:
			byName[h.Name] = a
		case other.hello.NodeID != h.NodeID:
			clash = fmt.Errorf("two nodes are named %s, at %s and at %s: give each a --node of its own",
				h.Name, other.hello.Addr, h.Addr)
			// One that is in a cluster keeps its name, and judges nobody any more.
			if h.Name == c.Name && (!h.Empty || !first(c, h)) {
				return nil, nil, clash
			}
		}
		if seed, ok := byID[h.NodeID]; ok {
			return nil, nil, fmt.Errorf("--join names one node twice: %s and %s are both node %s", seed, a.seed, h.Name)
		}
		if h.Format < oldestFormat {
			return nil, nil, fmt.Errorf("node %s at %s runs tally %s, which knows format %d, and this tally %s needs at least %d: "+
				"bring that node to a newer release first", h.Name, h.Addr, h.Release, h.Format, c.Release, oldestFormat)
		}
		byID[h.NodeID] = a.seed
		ids = append(ids, h.NodeID)
	}
	if i := slices.Index(ids, c.ID); i > 0 {
		ids[0], ids[i] = ids[i], ids[0]
	}
	return ids, clash, nil
}

// oldestFormat is that of the oldest cluster that this program can be in.
const oldestFormat = 1

// existing finds the cluster that seeds are in already.
func existing(c Config, answers []answer) (verdict, bool) {
	var in *answer
	for i, a := range answers {
		if a.hello == nil || a.hello.ClusterID == "" {
			continue
		}
		if in != nil && in.hello.ClusterID != a.hello.ClusterID {
			return verdict{refuse: fmt.Errorf("--join names nodes of two clusters: %s is in cluster %s, and %s in cluster %s",
				in.seed, in.hello.ClusterID, a.seed, a.hello.ClusterID)}, true
		}
		if in == nil || a.hello.Recovered.Compare(in.hello.Recovered) > 0 {
			in = &answers[i]
		}
	}
	if in == nil {
		return verdict{}, false
	}
	if h := in.hello; h.ClusterAt > ownership.Format {
		return verdict{refuse: fmt.Errorf("this tally %s knows format %d, and cluster %s is at format %d: "+
			"start release %s, as node %s runs", c.Release, ownership.Format, h.ClusterID, h.ClusterAt, h.Release, h.Name)}, true
	}
	return verdict{join: in.seed}, true
}

func otherSeeds(c Config, a answer) error {
	return fmt.Errorf("node %s at %s was started with --join %s, and this one with --join %s: "+
		"the nodes that form a cluster need the same list", a.hello.Name, a.seed, cmp.Or(strings.Join(a.hello.Seeds, ","), "nothing"),
		strings.Join(c.Seeds, ","))
}

// silent names the seeds that have not answered, with the reasons; nil for none.
func silent(answers []answer) (missing error) {
	for _, a := range answers {
		switch {
		case a.hello != nil:
		case missing == nil:
			missing = fmt.Errorf("%s (%w)", a.seed, a.err)
		default:
			missing = fmt.Errorf("%w, %s (%w)", missing, a.seed, a.err)
		}
	}
	return missing
}

// lowest lets the one with the lowest id form the cluster.
func lowest(c Config, answers []answer) verdict {
	former := slices.MinFunc(answers, func(a, b answer) int { return cmp.Compare(a.hello.NodeID, b.hello.NodeID) })
	if former.hello.NodeID != c.ID {
		return verdict{wait: fmt.Errorf("node %s at %s has the lowest id, and forms the cluster", former.hello.Name, former.seed)}
	}
	var servers []consensus.Server
	for _, a := range answers {
		servers = append(servers, consensus.Server{ID: a.hello.NodeID, Addr: a.hello.Addr, Voter: true})
	}
	return verdict{form: servers}
}

// form brings a node that is in no cluster into one: it returns when Raft has heard of a group.
// The address is of a node of the cluster, "" when this node need not ask for anything.
func (c *Cluster) form(ctx context.Context) (join string, err error) {
	if len(c.c.Seeds) == 0 {
		return "", c.raft.Bootstrap([]consensus.Server{{ID: c.c.ID, Addr: c.c.Addr, Voter: true}})
	}
	for c.raft.Empty() {
		answers := c.askSeeds(ctx, c.c.Seeds)
		v := judge(c.c, answers)
		switch {
		case v.refuse != nil:
			return "", v.refuse
		case v.join != "":
			return v.join, nil
		case v.form != nil:
			if formed, err := c.formNow(ctx, answers); formed || err != nil {
				return "", err
			}
		default:
			c.say(v.wait, v.warn)
		}
		if err := c.c.Seam.Sleep(ctx, c.c.Seam.Jitter(c.c.Timing.Ask)); err != nil {
			return "", err
		}
	}
	return "", nil
}

// formNow forms the cluster, if the seeds still say what they said before this node has said that
// it does so.
func (c *Cluster) formNow(ctx context.Context, before []answer) (formed bool, err error) {
	c.forming.Store(true)
	defer c.forming.Store(false)
	after := c.askSeeds(ctx, c.c.Seeds)
	v := judge(c.c, after)
	if v.refuse != nil {
		return false, v.refuse
	}
	if v.form == nil || !sameProcesses(before, after) {
		return false, nil
	}
	c.c.Log.Info("forming a cluster", "cluster", c.c.ID, "voters", len(v.form))
	err = c.raft.Bootstrap(v.form)
	if err != nil && !c.raft.Empty() {
		return true, nil // another node's group has reached this one meanwhile
	}
	return err == nil, err
}

func sameProcesses(a, b []answer) bool {
	return slices.EqualFunc(a, b, func(x, y answer) bool {
		return x.hello.NodeID == y.hello.NodeID && x.hello.Incarnation == y.hello.Incarnation
	})
}
