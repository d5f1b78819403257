package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

// joinRequest asks the leader to register a process of a node, which it takes into Raft's group if
// it is not in it.
type joinRequest struct {
	Member    ownership.Member `json:"member"`
	ClusterID string           `json:"cluster_id"` // that the node is or has been in, "" for none
	// HasLog is set where the node's log has something, which is then of Recovered. An earlier
	// release says neither.
	HasLog    bool               `json:"has_log,omitempty"`
	Recovered ownership.Recovery `json:"recovered,omitzero"`
}

// routed is how a call that is for the leader is answered by a node that is not the leader.
type routed struct {
	NotLeader  bool   `json:"not_leader,omitempty"`
	LeaderID   string `json:"leader_id,omitempty"`
	LeaderAddr string `json:"leader_addr,omitempty"`
}

func (r routed) notLeader() routed { return r }

// cluster is the id of the cluster that the answer is of, "" where it does not say so.
func (r routed) cluster() string { return "" }

type joinAnswer struct {
	routed
	ClusterID string `json:"cluster_id"`
	Refused   string `json:"refused,omitempty"` // for good, and why
	Later     string `json:"later,omitempty"`   // why not now
	AtMs      int64  `json:"at_ms,omitempty"`   // the leader's clock; none of an earlier release
}

func (a joinAnswer) cluster() string { return a.ClusterID }

// stayRegistered registers this process, and again whenever the log has it as dead, or the leader
// does not know it: a node that was taken out of the group hears that from the leader alone.
func (c *Cluster) stayRegistered(ctx context.Context, first string) {
	for ctx.Err() == nil {
		changed := c.raft.Changed()
		asking, stop := ctx, func() {}
		if c.Registered() {
			c.nowIn()
			if !c.unheardOf(ctx, changed) {
				continue
			}
			// While nobody is heard of this is a try, which must not be in the way of the next.
			asking, stop = context.WithTimeout(ctx, c.c.Timing.Say)
		}
		why, refused := c.register(asking, first)
		stop()
		if refused != nil {
			c.failUnless(ctx, refused)
			return
		}
		if why != nil {
			c.say(why, untrusted(why))
		}
		if c.Registered() {
			continue
		}
		c.pause(ctx, changed)
	}
}

// unheardOf waits until a member has to register again although its log has it, and false when the
// log has changed before: when a leader says that it does not know it, or when none has been heard
// of for Timing.Say. A node that was cut off, and forgotten meanwhile, hears from nobody.
func (c *Cluster) unheardOf(ctx context.Context, changed <-chan struct{}) bool {
	for {
		leaders := c.raft.LeaderChanged()
		var late <-chan time.Time
		stop := func() {}
		if _, addr := c.raft.Leader(); addr == "" {
			late, stop = c.c.Seam.Timer(c.c.Timing.Say)
		}
		select {
		case <-leaders:
			stop()
			continue
		case <-late:
		case <-c.member.Unknown():
		case <-changed:
			stop()
			return false
		case <-ctx.Done():
			stop()
			return false
		}
		stop()
		return true
	}
}

// pause waits for a change, or for the time to try again.
func (c *Cluster) pause(ctx context.Context, changed <-chan struct{}) {
	timer, stop := c.c.Seam.Timer(c.c.Seam.Jitter(c.c.Timing.Retry))
	defer stop()
	select {
	case <-changed:
	case <-c.led:
	case <-timer:
	case <-ctx.Done():
	}
}

func (c *Cluster) nowIn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waitsFor = nil
	if !c.wasIn {
		c.wasIn = true
		close(c.registered)
	}
}

// register asks the leader once, wherever it is. why says what it waits for; refused is for good.
func (c *Cluster) register(ctx context.Context, first string) (why, refused error) {
	c.place.Lock()
	defer c.place.Unlock()
	if c.leaving {
		return nil, nil
	}
	// The log before the state, which a snapshot brings first.
	request := joinRequest{Member: c.c.member(), HasLog: c.raft.LastIndex() > 0, ClusterID: c.ClusterID(), Recovered: c.State().Recovered}
	if _, _, ok := c.raft.Leading(); ok {
		return c.joined(c.admit(ctx, request))
	}
	began := c.c.Seam.Now()
	answer, leader, why := askLeader[joinAnswer](ctx, c, first, "join", request)
	if why != nil {
		return why, nil
	}
	c.lookAtClock(answer.AtMs, leader, began)
	return c.joined(answer)
}

// askLeader makes a call that is for the leader, wherever it is: a node that has been taken out of
// the group does not hear from it. why says that nobody has answered as the leader; of several
// reasons, the one that no waiting mends.
func askLeader[A interface {
	notLeader() routed
	cluster() string
}](
	ctx context.Context, c *Cluster, first, call string, in any,
) (answer A, at string, why error) {
	why = errors.New("no node of the cluster answers")
	note := func(err error) {
		if !untrusted(why) {
			why = err
		}
	}
	for _, addr := range c.whoMayLead(first) {
		for range 2 { // a node, and the leader that it names
			var a A
			if err := c.call(ctx, addr, call, in, &a); err != nil {
				note(fmt.Errorf("the node at %s does not answer: %w", addr, err))
				break
			}
			r := a.notLeader()
			if !r.NotLeader && c.foreign(a.cluster()) {
				// Its address was a member's once; it is no reason to give up this node's own
				// cluster.
				note(c.otherCluster("the node at "+addr, a.cluster()))
				break
			}
			if !r.NotLeader {
				return a, addr, nil
			}
			note(&NoLeaderError{noLeader(c.State())})
			if r.LeaderAddr == "" || r.LeaderAddr == addr {
				break
			}
			addr = r.LeaderAddr
		}
	}
	return answer, "", why
}

// foreign reports whether a cluster is another one than this node's.
func (c *Cluster) foreign(id string) bool {
	mine := c.ClusterID()
	return id != "" && mine != "" && id != mine
}

// call asks another node, with time for the leader to write what was asked.
func (c *Cluster) call(ctx context.Context, addr, call string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timing.Propose)
	defer cancel()
	return c.c.Call(ctx, addr, call, in, out)
}

func (c *Cluster) joined(a joinAnswer) (why, refused error) {
	switch {
	case a.Refused != "":
		return nil, errors.New(a.Refused)
	case a.Later != "":
		return errors.New(a.Later), nil
	}
	return nil, nil
}

// whoMayLead lists addresses at which the leader may be, or a node that knows it, the likeliest
// first.
func (c *Cluster) whoMayLead(first string) []string {
	_, leader := c.raft.Leader()
	addrs := []string{leader, first}
	for _, s := range c.raft.Servers() {
		addrs = append(addrs, s.Addr)
	}
	for _, m := range c.State().SortedMembers() {
		addrs = append(addrs, m.Addr)
	}
	addrs = append(addrs, c.c.Seeds...)
	var list []string
	for _, a := range addrs {
		if a != "" && a != c.c.Addr && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list[:min(len(list), askedMax)]
}

// askedMax bounds the nodes that are asked in one round for the leader.
const askedMax = 16

func (c *Cluster) serveJoin(ctx context.Context, request joinRequest) (any, error) {
	asks := &Hello{ClusterID: request.ClusterID, Recovered: request.Recovered, Name: request.Member.Name, Addr: request.Member.Addr}
	if err := c.leftBehind(asks); err != nil {
		c.failUnless(c.ctx, err)
		return nil, err
	}
	answer := c.admit(ctx, request)
	answer.AtMs = c.c.Seam.Now().UnixMilli()
	return answer, nil
}

// admit is the leader's side of a registration. One at a time: a name is looked at, Raft's group is
// changed, and only then the log.
func (c *Cluster) admit(ctx context.Context, r joinRequest) joinAnswer {
	ctx, done, ok := c.leading(ctx)
	if !ok {
		return joinAnswer{routed: c.route()}
	}
	defer done()
	answer := joinAnswer{ClusterID: c.State().ClusterID}
	if answer.ClusterID == "" {
		answer.Later = "the cluster has just been formed"
		return answer
	}
	register := ownership.Command{Register: &ownership.Register{Member: r.Member}}
	if answer.Refused = c.stranger(r); answer.Refused != "" {
		return answer
	}
	if answer.Later, answer.Refused = c.addressOf(ctx, r.Member); answer.Later != "" || answer.Refused != "" {
		return answer
	}
	if answer.Later = c.succeed(ctx, r.Member); answer.Later != "" {
		return answer
	}
	if answer.Refused = c.unwelcome(ctx, r, register); answer.Refused != "" {
		return answer
	}
	if err := c.enlist(ctx, r.Member); err != nil {
		return c.notNow(answer, err)
	}
	result, err := c.raft.Propose(ctx, register)
	if err != nil {
		return c.notNow(answer, err)
	}
	answer.Refused = result.Refused
	return answer
}

func (c *Cluster) notNow(a joinAnswer, err error) joinAnswer {
	var not *consensus.NotLeaderError
	if errors.As(err, &not) {
		a.routed = c.route()
		return a
	}
	a.Later = fmt.Sprintf("the leader has not got it written: %v", err)
	return a
}

// stranger says why a node cannot be of this cluster.
func (c *Cluster) stranger(r joinRequest) string {
	state := c.State()
	if r.ClusterID != "" && r.ClusterID != state.ClusterID {
		return fmt.Sprintf("node %s (its data dir at %s) is of cluster %s, and the node at %s of cluster %s: "+
			"start it with another --join, or with an empty --data-dir", r.Member.Name, r.Member.Addr, r.ClusterID, c.c.Addr, state.ClusterID)
	}
	if (r.ClusterID != "" || r.HasLog) && r.Recovered.Compare(state.Recovered) < 0 {
		return goneOn(state.ClusterID, "node "+r.Member.Name, "the node at "+c.c.Addr, "the data dir of "+r.Member.Name)
	}
	if r.Member.Format < oldestFormat {
		return fmt.Sprintf("node %s runs tally %s, which knows format %d, and this cluster needs at least %d: start a newer release",
			r.Member.Name, r.Member.Release, r.Member.Format, oldestFormat)
	}
	return ""
}

// succeed lets a node that has lost its disk take the place of what it was: a member that is dead,
// of the same name at the same address, is forgotten. later says why that has to wait.
func (c *Cluster) succeed(ctx context.Context, m ownership.Member) (later string) {
	old := c.State().MemberNamed(m.Name)
	switch {
	case old == nil || old.ID == m.ID || old.Addr != m.Addr:
		return ""
	case old.Alive:
		return fmt.Sprintf("the cluster still has another node named %s for alive at this address", m.Name)
	}
	forget := ownership.Command{Forget: &ownership.Forget{ID: old.ID}}
	if _, result := c.State().Take(forget); result.Refused != "" {
		return notYet(m.Name, result)
	}
	c.c.Log.Info("a node has lost its disk, and begins anew", "node", m.Name, "was", old.ID, "is", m.ID)
	if err := c.dismiss(ctx, old.ID); err != nil {
		return fmt.Sprintf("the leader has not got it written: %v", err)
	}
	switch result, err := c.raft.Propose(ctx, forget); {
	case err != nil:
		return fmt.Sprintf("the leader has not got it written: %v", err)
	default:
		return result.Refused
	}
}

// unwelcome says why a node must not be let in.
func (c *Cluster) unwelcome(ctx context.Context, r joinRequest, register ownership.Command) string {
	state := c.State()
	if _, result := state.Take(register); result.Refused != "" {
		return result.Refused
	}
	old := state.Members[r.Member.ID]
	if old == nil || !old.Alive || old.Addr == r.Member.Addr || old.Incarnation == r.Member.Incarnation {
		return ""
	}
	h, err := ask(ctx, c.c, old.Addr, c.hello())
	if err == nil && h.NodeID == old.ID && h.Incarnation == old.Incarnation {
		return fmt.Sprintf("node id %s is in use by node %s at %s, since the data dir of the node at %s is a copy of that one's: "+
			"remove node.json, %s and raft in it, and it is a new node", old.ID, old.Name, old.Addr, r.Member.Addr, pastFile)
	}
	return ""
}

// addressOf looks whether a node is where it says, if another member was last known there: that one
// may have ended or moved, and an address can pass to another node, but not to one that only names
// it. The words say why the node is not let in, refused for good.
func (c *Cluster) addressOf(ctx context.Context, m ownership.Member) (later, refused string) {
	var there string // the member that was known there
	for _, other := range c.State().SortedMembers() {
		if other.ID != m.ID && other.Addr == m.Addr {
			there = other.Name
		}
	}
	for _, s := range c.raft.Servers() {
		if there == "" && s.ID != m.ID && s.Addr == m.Addr { // it has not registered yet
			there = s.ID
		}
	}
	if there == "" || m.ID == c.c.ID {
		return "", ""
	}
	h, err := ask(ctx, c.c, m.Addr, c.hello())
	switch {
	case err != nil:
		return fmt.Sprintf("the address %s of node %s was node %s's, and the leader does not reach it there: %v", m.Addr, m.Name, there, err), ""
	case h.NodeID != m.ID:
		return "", fmt.Sprintf("the address %s, which node %s says is its own, is that of node %s: "+
			"start it with a --listen and an --advertise at which the others reach it", m.Addr, m.Name, h.Name)
	}
	return "", ""
}

// enlist gives a node its place in Raft's group, without a vote, or a new address in it.
func (c *Cluster) enlist(ctx context.Context, m ownership.Member) error {
	for _, s := range c.raft.Servers() {
		if s.ID == m.ID && (m.ID == c.c.ID || s.Addr == m.Addr) {
			return nil
		}
	}
	c.raft.Hint(m.ID, m.Addr)
	return c.raft.AddNonvoter(ctx, m.ID, m.Addr)
}

// route names the leader to who has asked this node instead.
func (c *Cluster) route() routed {
	id, addr := c.raft.Leader()
	if id == c.c.ID {
		id, addr = "", "" // it has just been elected, and does not lead yet
	}
	return routed{NotLeader: true, LeaderID: id, LeaderAddr: addr}
}
