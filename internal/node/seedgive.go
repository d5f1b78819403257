package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/seed"
	"github.com/tally-kafka/tally/state"
)

// Node calls about a checkpoint of a lane: one asks for it, the other says that it is not needed
// any more.
const (
	callCheckpoint     = "checkpoint"
	callCheckpointDone = "checkpoint_done"
)

// checkpointAsk asks a node for a checkpoint of its copy of a lane.
type checkpointAsk struct {
	ownership.LaneRef
	Identity state.Identity `json:"identity"`
	ID       string         `json:"id,omitempty"`    // one that was offered before, to go on with
	Look     bool           `json:"look,omitempty"`  // only say what it would be
	Tasks    int            `json:"tasks,omitempty"` // of the lane as who asks knows it; a topic may have grown since
}

// checkpointAnswer says how large the copy is, and unless that was all, offers its checkpoint.
type checkpointAnswer struct {
	Bytes  int64      `json:"bytes"`
	Groups int64      `json:"groups"`
	Offer  seed.Offer `json:"offer"`
}

// checkpointMark is in the names of checkpoints that this node gives out.
const checkpointMark = ".checkpoint"

func (l *lane) checkpointDir() string { return l.dir() + checkpointMark }

// dropCheckpoints removes the checkpoints that an earlier process was giving out.
func (d *dataDir) dropCheckpoints() error {
	old, err := filepath.Glob(filepath.Join(escapeGlob(d.path), "state", "*", "*"+checkpointMark+"*"))
	for _, dir := range old {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// laneOf finds a lane of an app that is open here.
func (n *Node) laneOf(ref ownership.LaneRef) *lane {
	for _, a := range n.running() {
		if a.name() == ref.App && ref.Lane >= 0 && ref.Lane < len(a.lanes) {
			return a.lanes[ref.Lane]
		}
	}
	return nil
}

func notReady(what string) error {
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady, Message: what, Next: "ask another node"}
}

// offerCheckpoint answers a node that needs a copy of a lane.
func (n *Node) offerCheckpoint(ctx context.Context, body []byte) (any, error) {
	var ask checkpointAsk
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("the question for a checkpoint: %w", err)
	}
	l := n.laneOf(ask.LaneRef)
	if l == nil {
		return nil, notReady(fmt.Sprintf("node %s has no lane %d of app %s", n.cfg.Name, ask.Lane, ask.App))
	}
	return l.offerCheckpoint(ctx, ask)
}

// offerCheckpoint offers a copy that was once at the end of the changelog, of the same life of the
// app as the one who asks has it.
func (l *lane) offerCheckpoint(ctx context.Context, ask checkpointAsk) (answer checkpointAnswer, err error) {
	if id := l.identity(); ask.Identity != id {
		return answer, conflict(fmt.Sprintf("the state of lane %d here is of %+v, and a copy of %+v is asked for", l.k, id, ask.Identity), "")
	}
	if ask.Tasks != 0 && ask.Tasks != len(l.tasks) {
		return answer, conflict(fmt.Sprintf("lane %d has %d partitions here, and %d on the node that asks for a copy: one of them was started before the topic grew",
			l.k, len(l.tasks), ask.Tasks), "")
	}
	l.mu.Lock()
	store, loaded := l.store, l.loaded
	l.mu.Unlock()
	if store == nil || !loaded {
		return answer, notReady(fmt.Sprintf("lane %d of app %s is not loaded on this node", l.k, l.app.name()))
	}
	answer.Bytes = store.Metrics().DiskBytes
	for _, p := range store.Positions() {
		answer.Groups += p.Record.Groups
	}
	if ask.Look {
		return answer, nil
	}
	began := l.seam().Now()
	wish := seed.Wish{Dir: l.checkpointDir(), Of: fmt.Sprintf("%+v", ask.Identity), ID: ask.ID}
	if answer.Offer, err = l.app.node.seeds.Offer(ctx, wish, store.Checkpoint); err != nil {
		return answer, err
	}
	l.log().Info("giving out a checkpoint", "bytes", answer.Offer.Bytes(), "files", len(answer.Offer.Files), "took", l.seam().Since(began))
	return answer, nil
}

// checkpointDone hears that a checkpoint is not needed any more.
func (n *Node) checkpointDone(_ context.Context, body []byte) (any, error) {
	var ask checkpointAsk
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("the word that a checkpoint is done with: %w", err)
	}
	if l := n.laneOf(ask.LaneRef); l != nil {
		return struct{}{}, n.seeds.Done(l.checkpointDir(), ask.ID)
	}
	return struct{}{}, nil
}

// openPiece gives a piece of a checkpoint's file to another node.
func (n *Node) openPiece(ctx context.Context, p api.Piece) (io.ReadCloser, int64, error) {
	gone := &api.Error{Status: http.StatusGone, Code: api.CodeGone, Message: seed.ErrGone.Error(), Next: "ask for another"}
	l := n.laneOf(ownership.LaneRef{App: p.App, Lane: p.Lane})
	if l == nil {
		return nil, 0, gone
	}
	r, size, err := n.seeds.Open(ctx, l.checkpointDir(), p.ID, p.File, p.From, p.Bytes)
	if errors.Is(err, seed.ErrGone) {
		return nil, 0, gone
	}
	return r, size, err
}
