package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/assign"
	"github.com/tally-kafka/tally/replication/cluster"
	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

// control changes the cluster for people: it is the api's Control.
type control struct{ n *Node }

// Submit gives the cluster an app, or an app another spec or another number of standbys.
func (c control) Submit(ctx context.Context, text []byte, req api.SubmitRequest) (api.SubmitAnswer, error) {
	s, err := spec.Parse(text, "the spec")
	if err != nil {
		return api.SubmitAnswer{}, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: err.Error()}
	}
	if err := view(c).Settled(ctx); err != nil { // Kafka is asked, too
		return api.SubmitAnswer{}, err
	}
	standbys := standbyCount{n: api.StandbysDefault}
	if req.Standbys != nil {
		standbys = standbyCount{n: *req.Standbys, asked: true}
	}
	change, err := c.n.submit(ctx, s, standbys)
	if errors.As(err, new(*haltedError)) {
		return api.SubmitAnswer{}, conflict(err.Error(), "submit the spec again when that is done: see `tally status`")
	}
	if err != nil {
		return api.SubmitAnswer{}, notDone("submitted", err)
	}
	now := c.n.cluster.State().Apps[s.App]
	if now == nil {
		return api.SubmitAnswer{}, conflict("app "+s.App+" was deleted meanwhile", "submit it again")
	}
	answer := api.SubmitAnswer{App: s.App, Generation: now.Generation, Lanes: len(now.Lanes), Standbys: now.Standbys, Change: change}
	return answer, nil
}

// Delete stops an app everywhere. Its topics and the offsets of its consumer group stay, unless
// they are to go too.
func (c control) Delete(ctx context.Context, name string, topics bool) (api.DeleteAnswer, error) {
	if err := view(c).Settled(ctx); err != nil {
		return api.DeleteAnswer{}, err
	}
	rec := c.n.cluster.State().Apps[name]
	if rec == nil {
		return api.DeleteAnswer{}, c.n.unknownApp(name)
	}
	answer := api.DeleteAnswer{App: name}
	drop := ownership.Command{DropApp: &ownership.DropApp{Name: name}}
	if !topics {
		return answer, c.propose(ctx, drop)
	}
	if err := c.n.patiently(ctx, openTimeout, func(ctx context.Context) error { return c.n.refuseStrangers(ctx, name) }); err != nil {
		return api.DeleteAnswer{}, err
	}
	// The name is free only when the topics are gone: what is submitted under it would begin with
	// them.
	if err := c.propose(ctx, ownership.Command{HaltApp: &ownership.HaltApp{Name: name, Halted: deleting}}); err != nil {
		return api.DeleteAnswer{}, err
	}
	err := c.n.patiently(ctx, openTimeout, func(ctx context.Context) error {
		deleted, err := c.n.deleteOwned(ctx, rec)
		answer.Topics = append(answer.Topics, deleted...)
		return err
	})
	if gone := c.n.isDeleting(rec); gone != nil {
		return answer, gone
	}
	if ctx.Err() != nil { // it stays halted, with its name
		return answer, err
	}
	if dropped := c.propose(ctx, drop); dropped != nil {
		return answer, dropped
	}
	if err != nil {
		err = &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady,
			Message: fmt.Sprintf("app %s is stopped, but not all of its topics are deleted: %v", name, err),
			Next:    "delete them with Kafka's own tools: " + strings.Join(spec.OwnTopics(name), ", ")}
	}
	return answer, err
}

// refuseStrangers refuses to delete the topics of an app that another cluster has taken over. What
// a damaged changelog says is nobody's, and one that is gone was.
func (n *Node) refuseStrangers(ctx context.Context, app string) error {
	heads, err := n.soundHeads(ctx, spec.ChangelogTopic(app))
	if err != nil {
		return err
	}
	for _, h := range heads {
		if by := h.author; by.foreign(n.clusterID()) {
			return conflict(fmt.Sprintf("node %s of another cluster was the last to write what app %s has counted: its topics are that one's", by.called(n.cfg.Name), app),
				fmt.Sprintf("`tally delete %s` stops the app here and leaves them; where that cluster is gone, Kafka's own tools delete them: %s",
					app, strings.Join(spec.OwnTopics(app), ", ")))
		}
	}
	return nil
}

// deleting is why an app is halted whose topics are being deleted. Should the node that does it end
// before it is done, the app stays so until it is deleted once more.
const deleting = "the app is being deleted with its topics; if it stays so, delete it again"

// isDeleting fails when an app is not any more the one that is being deleted here.
func (n *Node) isDeleting(rec *ownership.App) error {
	switch now := n.cluster.State().Apps[rec.Name]; {
	case now == nil || now.ID != rec.ID:
		return conflict("app "+rec.Name+" was deleted by another at the same time", "see `tally apps`")
	case now.Halted != deleting:
		return conflict("app "+rec.Name+" was begun again while it was being deleted", "delete it again")
	}
	return nil
}

// deleteOwned deletes what tally owns of an app that is halted for it: fenced first, so that a node
// which has not heard of it yet commits nothing any more. The changelog goes last, as in a reset;
// the consumer group's offsets go too, since without a changelog they would only refuse a new
// start.
func (n *Node) deleteOwned(ctx context.Context, rec *ownership.App) (deleted []string, err error) {
	for k := range rec.Lanes {
		if err := n.fenceLane(ctx, rec.Name, k); err != nil {
			return nil, err
		}
	}
	if err := n.admin.DeleteGroup(ctx, rec.Name); err != nil {
		return nil, err
	}
	for _, topic := range spec.OwnTopics(rec.Name) {
		if err := n.isDeleting(rec); err != nil {
			return deleted, err
		}
		t, there, err := n.admin.Topic(ctx, topic)
		if err != nil {
			return deleted, err
		}
		if !there {
			continue
		}
		if err := n.deleteTopic(ctx, t); err != nil {
			return deleted, n.kafka.Explain(err)
		}
		deleted = append(deleted, topic)
	}
	return deleted, nil
}

// Drain asks for all lanes of a node to be moved away, or takes that back.
func (c control) Drain(ctx context.Context, node string, req api.DrainRequest) (api.DrainAnswer, error) {
	m, err := c.n.member(ctx, node)
	if err != nil {
		return api.DrainAnswer{}, err
	}
	st := c.n.cluster.State()
	answer := api.DrainAnswer{Node: m.Name, Draining: !req.Undo, DryRun: req.DryRun, Moves: []api.LaneMove{}}
	if !req.Undo {
		if !m.Alive { // and a drain would end unheard at its next start
			return answer, conflict(fmt.Sprintf("node %s is not alive: its lanes go on at other nodes without a drain", m.Name),
				fmt.Sprintf("if it is gone for good, `tally node forget %s`", m.Name))
		}
		if c.n.takers(st, m.ID) == 0 {
			return answer, conflict(fmt.Sprintf("node %s is the last one that can own lanes", m.Name),
				"start another node first, or stop the apps with `tally delete`")
		}
		answer.Moves = c.n.movesOf(st, m)
	}
	if req.DryRun && !req.Undo {
		f, err := c.n.cluster.DryRunDrain(ctx, m.ID)
		if err == nil && f.Refused != "" {
			return answer, conflict(f.Refused, "")
		}
		answer.Moves, answer.Plan = c.n.foreseen(st, f), f.Lines
		return answer, cannotDecide(err)
	}
	if req.DryRun {
		return answer, nil
	}
	return answer, c.propose(ctx, ownership.Command{Drain: &ownership.Drain{ID: m.ID, Draining: !req.Undo}})
}

// takers is how many members beside one can own lanes.
func (n *Node) takers(st *ownership.State, beside string) (takers int) {
	for id, m := range st.Members {
		if id != beside && m.Alive && !m.Draining {
			takers++
		}
	}
	return takers
}

// movesOf are the lanes of a member, each with the standby that is to take it first.
func (n *Node) movesOf(st *ownership.State, m *ownership.Member) []api.LaneMove {
	moves := []api.LaneMove{}
	for ref, l := range st.Lanes() {
		if l.Owner != m.ID {
			continue
		}
		move := api.LaneMove{App: ref.App, Lane: ref.Lane, From: m.Name}
		if len(l.Standbys) > 0 {
			move.To = st.Members[l.Standbys[0]].Name
		}
		moves = append(moves, move)
	}
	return moves
}

// foreseen are the owners that would change.
func (n *Node) foreseen(st *ownership.State, f assign.Foreseen) []api.LaneMove {
	moves := []api.LaneMove{}
	for _, m := range f.Moves {
		move := api.LaneMove{App: m.App, Lane: m.Lane}
		if m.From != "" {
			move.From = st.NameOf(m.From)
		}
		if m.To != "" {
			move.To = st.NameOf(m.To)
		}
		moves = append(moves, move)
	}
	return moves
}

// Move asks for a lane to be moved to a node. A move to the lane's owner takes back the one that is
// under way.
func (c control) Move(ctx context.Context, app string, lane int, req api.MoveRequest) (api.MoveAnswer, error) {
	to, err := c.n.member(ctx, req.To)
	if err != nil {
		return api.MoveAnswer{}, err
	}
	st := c.n.cluster.State()
	rec := st.Apps[app]
	if rec == nil {
		return api.MoveAnswer{}, c.n.unknownApp(app)
	}
	if lane < 0 || lane >= len(rec.Lanes) {
		return api.MoveAnswer{}, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound,
			Message: fmt.Sprintf("app %s has no lane %d", app, lane), Next: fmt.Sprintf("it has lanes 0 to %d", len(rec.Lanes)-1)}
	}
	ref := ownership.LaneRef{App: app, Lane: lane}
	answer, err := moveOf(st, ref, to)
	answer.DryRun = req.DryRun
	if err != nil || answer.Done && req.DryRun {
		return answer, err
	}
	if answer.Done {
		return answer, c.keepThere(ctx, ref, to)
	}
	f, err := c.n.cluster.DryRunMove(ctx, ref, to.ID)
	if errors.Is(err, cluster.ErrOlderLeader) && !req.DryRun {
		err = nil // its own rules decide
	}
	if err != nil {
		return answer, cannotDecide(err)
	}
	if f.Refused != "" { // by the state, or since the leader would give the move up at once
		return answer, conflict(f.Refused, "")
	}
	if req.DryRun {
		answer.Plan = f.Lines
		return answer, nil
	}
	if answer.TakenBack != "" {
		answer.Done = true
		return answer, c.keep(ctx, ref, to)
	}
	return answer, c.propose(ctx, ownership.Command{MoveLane: &ownership.MoveLane{LaneRef: ref, Target: to.ID}})
}

// moveOf is what a move of a lane to a node is, as things are: one to come, one that takes another
// back, or done, which only a lane is that its node may keep.
func moveOf(st *ownership.State, ref ownership.LaneRef, to *ownership.Member) (api.MoveAnswer, error) {
	now, _ := st.Lane(ref)
	answer := api.MoveAnswer{LaneMove: api.LaneMove{App: ref.App, Lane: ref.Lane, To: to.Name}, Epoch: now.Epoch}
	if owner := st.Members[now.Owner]; owner != nil {
		answer.From = owner.Name
	}
	if !to.Alive || to.Draining {
		why := "dead"
		if to.Alive {
			why = "being drained"
		}
		return answer, conflict(fmt.Sprintf("node %s is %s and takes no lane", to.Name, why), takersText(st))
	}
	if owner := st.OwnerOf(now); owner != nil && owner.ID == to.ID {
		answer.Done = now.Target == ""
		answer.TakenBack = st.NameOf(now.Target)
	}
	return answer, nil
}

// keepThere keeps a lane with its owner as it is. Where nobody can decide that, nobody can move the
// lane either.
func (c control) keepThere(ctx context.Context, ref ownership.LaneRef, owner *ownership.Member) error {
	err := c.keep(ctx, ref, owner)
	if e := new(api.Error); errors.As(err, &e) && e.Code == api.CodeNotReady {
		return nil
	}
	return err
}

// keepTries bounds how often the lanes may change while one is asked to be kept where it is, and
// keepPause is between two tries.
const (
	keepTries = 16
	keepPause = 20 * time.Millisecond
)

// keep ends the move of a lane away from its owner, and keeps it from being moved by the balance.
func (c control) keep(ctx context.Context, ref ownership.LaneRef, owner *ownership.Member) error {
	for range keepTries {
		st := c.n.cluster.State()
		now, _ := st.Lane(ref)
		if o := st.OwnerOf(now); o == nil || o.ID != owner.ID {
			return conflict(fmt.Sprintf("the move of %s away from node %s could not be taken back any more", ref, owner.Name),
				"see `tally status`, and move it again when it has come")
		}
		if now.Target == "" && now.Wanted == owner.ID {
			return nil
		}
		res, err := c.n.cluster.Propose(ctx, assign.Keep(st, ref))
		switch unsure := new(consensus.UncertainError); {
		case errors.As(err, &unsure) && ctx.Err() == nil: // the state tells whether it was taken
		case err != nil:
			return cannotDecide(err)
		case res.Refused != "" && res.Code != ownership.Stale:
			return conflict(res.Refused, "")
		case res.Refused == "":
			continue
		}
		if err := c.n.cfg.Seam.Sleep(ctx, keepPause); err != nil {
			return err
		}
	}
	return conflict(fmt.Sprintf("the lanes change so fast that %s could not be kept on node %s", ref, owner.Name), "ask again")
}

// Forget takes a node that is gone for good out of the cluster.
func (c control) Forget(ctx context.Context, node string, dryRun bool) (api.ForgetAnswer, error) {
	m, err := c.n.forgettable(ctx, node)
	if err != nil {
		return api.ForgetAnswer{}, err
	}
	answer := api.ForgetAnswer{Node: m.Name, Addr: m.Addr, DryRun: dryRun}
	if answer.Voters, answer.Voted = c.n.cluster.Voters(m.ID); answer.Voted {
		answer.Voters--
	}
	for _, l := range c.n.cluster.State().Lanes() {
		if l.Copies(m.ID) {
			answer.Lanes++
		}
	}
	switch err := c.n.cluster.Forget(ctx, m.ID, dryRun); {
	case errors.Is(err, cluster.ErrAlive):
		return answer, conflict(fmt.Sprintf("node %s at %s is alive, and only a node that is gone for good is forgotten", m.Name, m.Addr),
			fmt.Sprintf("stop it first, by SIGTERM, which hands its lanes over (one that has just ended counts as alive for a second or two); "+
				"to take its lanes from it while it runs, `tally drain %s`", m.Name))
	case err != nil && !undecided(err):
		return answer, conflict(err.Error(), "see `tally status`")
	default:
		return answer, cannotDecide(err)
	}
}

// forgettable is member, but for a node that has never registered, too: that has an address, and no
// name.
func (n *Node) forgettable(ctx context.Context, node string) (*ownership.Member, error) {
	if err := n.known(ctx); err != nil {
		return nil, err
	}
	for _, s := range n.cluster.Unregistered() {
		if node == s.ID || node == s.Addr {
			return &ownership.Member{ID: s.ID, Name: s.Addr, Addr: s.Addr}, nil
		}
	}
	return n.member(ctx, node)
}

// takersText names the nodes that take lanes, or says what to do where there are none.
func takersText(st *ownership.State) string {
	var takers, drained []string
	for _, m := range st.SortedMembers() {
		switch {
		case m.Alive && !m.Draining:
			takers = append(takers, m.Name)
		case m.Alive:
			drained = append(drained, m.Name)
		}
	}
	switch {
	case len(takers) > 0:
		return "the nodes that do: " + strings.Join(takers, ", ")
	case len(drained) > 0:
		return fmt.Sprintf("no node takes lanes: all that are alive (%s) are being drained; start another, or take that back with `tally drain NODE --undo`",
			strings.Join(drained, ", "))
	}
	return "no node takes lanes: start one"
}

// member finds a member by its name or id. Who is asked while the cluster is being formed, or while
// this node joins it, waits until it knows the members.
func (n *Node) member(ctx context.Context, name string) (*ownership.Member, error) {
	if err := n.known(ctx); err != nil {
		return nil, err
	}
	var found *ownership.Member
	ctx, cancel := context.WithTimeout(ctx, n.cfg.SettleWait)
	defer cancel()
	n.whileState(ctx, func(st *ownership.State) bool {
		found = memberOf(st, name)
		return found == nil && len(n.cluster.Unregistered()) > 0
	})
	if found != nil {
		return found, nil
	}
	var known []string
	for _, m := range n.cluster.State().SortedMembers() {
		known = append(known, m.Name)
	}
	next := "it has " + strings.Join(known, ", ")
	if joining := len(n.cluster.Unregistered()); joining > 0 {
		next += fmt.Sprintf("; still joining: %d", joining)
	}
	return nil, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound,
		Message: fmt.Sprintf("the cluster has no node %q", name), Next: next}
}

func memberOf(st *ownership.State, name string) *ownership.Member {
	for _, m := range st.Members {
		if m.Name == name || m.ID == name {
			return m
		}
	}
	return nil
}

func (n *Node) unknownApp(name string) error {
	e := &api.Error{Status: http.StatusNotFound, Code: api.CodeUnknownApp,
		Message: fmt.Sprintf("the cluster has no app %q", name), Next: "it has none yet: `tally submit FILE`"}
	if names := appNames(n.cluster.State()); len(names) > 0 {
		e.Next = "it has " + strings.Join(names, ", ")
	}
	return e
}

// propose changes what Raft keeps, and says a refusal to a person.
func (c control) propose(ctx context.Context, cmd ownership.Command) error {
	res, err := c.n.cluster.Propose(ctx, cmd)
	switch {
	case err != nil:
		return cannotDecide(err)
	case res.Refused != "":
		return conflict(res.Refused, "")
	}
	return nil
}

// cannotDecide says to a person that no leader has answered.
func cannotDecide(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady,
		Message: "the cluster cannot decide: " + err.Error(), Next: "see `tally status`; where most voters are lost for good, `tally node recover --help` says the way out"}
}
