package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/seed"
	"github.com/tally-kafka/tally/state"
)

const (
	// seedStart is about what a seed takes beyond its transfer: the flush and the checksums before
	// it, the checks behind it.
	seedStart = time.Second
	// checkpointWait is how long another node may take to make a checkpoint: it reads the whole of
	// it for its sums, and makes one at a time.
	checkpointWait = 10 * time.Minute
	// seedPause is how long a lane whose seed has failed is not seeded again: it reads on instead.
	seedPause = time.Minute
)

// seedCheaper estimates whether a copy of so many bytes is there sooner than the changelog is read
// by someone who is behind by so many of its offsets.
func (c Config) seedCheaper(behind, groups, bytes int64) bool {
	records := behind
	if behind > groups {
		// Compaction leaves the last record of each group, and up to three tenths of the rest: that
		// is min.cleanable.dirty.ratio.
		records = groups + (behind-groups)*3/10
	}
	replay := float64(records) / float64(c.ReplayRate)
	return seedStart.Seconds()+float64(bytes)/float64(c.SeedRate) < replay
}

func (l *lane) seedingDir() string { return l.dir() + ".seeding" }

// seed takes a copy of the lane from another node, where the store is so far behind that this is
// cheaper than the changelog. Whatever fails is left to the changelog. The store is open before;
// afterwards it is open, or the caller opens it.
func (l *lane) seed(ctx context.Context, ends map[int32]int64) {
	cfg, behind := l.app.node.cfg, l.behind(l.store.Positions(), ends)
	if g, _ := l.granted(); g.part != partStandby || behind < cfg.SeedRecords || l.unseeded || l.seam().Now().Before(l.seedAfter) {
		return
	}
	l.seedAfter = l.seam().Now().Add(seedPause)
	for _, from := range l.seeders() {
		seeded, err := l.seedFrom(ctx, from, behind)
		if seeded || ctx.Err() != nil {
			return
		}
		if err != nil {
			l.log().Warn("no copy of the lane from another node", "node", from.Name, "error", err)
		}
	}
}

// behind is how many of the offsets below the ends the positions lack.
func (l *lane) behind(positions map[state.Task]state.Position, ends map[int32]int64) (behind int64) {
	for p, end := range ends {
		at := end
		for _, t := range l.tasks {
			if t.Partition == p {
				at = min(at, positions[t].Changelog)
			}
		}
		behind += end - at
	}
	return behind
}

// seeders are the members that have a copy: standbys first, since the owner has enough to do.
func (l *lane) seeders() (from []*ownership.Member) {
	n := l.app.node
	st := n.cluster.State()
	a := st.Apps[l.app.name()]
	if a == nil || l.k >= len(a.Lanes) {
		return nil
	}
	for _, id := range append(slices.Clone(a.Lanes[l.k].Standbys), a.Lanes[l.k].Owner) {
		if m := st.Members[id]; m != nil && m.Alive && id != n.dir.id.ID {
			from = append(from, m)
		}
	}
	return from
}

// seedFrom takes a copy from a member, unless the changelog is cheaper.
func (l *lane) seedFrom(ctx context.Context, m *ownership.Member, behind int64) (seeded bool, err error) {
	n, began := l.app.node, l.seam().Now()
	ask := checkpointAsk{LaneRef: l.ref(), Identity: l.identity(), Look: true, Tasks: len(l.tasks)}
	var answer checkpointAnswer
	if err := n.call(ctx, m.Addr, callCheckpoint, ask, &answer); err != nil {
		return false, err
	}
	if !n.cfg.seedCheaper(behind, answer.Groups, answer.Bytes) {
		return false, nil
	}
	remembered := filepath.Join(l.seedingDir(), "offer.json")
	ask.Look, ask.ID = false, seed.Remembered(remembered)
	l.setState(api.LaneStandby, "waiting for a copy from node "+m.Name)
	if err := n.callFor(ctx, checkpointWait, m.Addr, callCheckpoint, ask, &answer); err != nil {
		return false, err
	}
	if err := errors.Join(os.MkdirAll(l.seedingDir(), 0o755), seed.Remember(remembered, answer.Offer)); err != nil {
		return false, err
	}
	if err := l.fetchSeed(ctx, m, answer.Offer); err != nil {
		if errors.Is(err, seed.ErrDisk) { // the room is needed for the changelog
			l.dropSeed()
		}
		return false, err
	}
	ask.ID = answer.Offer.ID
	if err := n.call(ctx, m.Addr, callCheckpointDone, ask, nil); err != nil {
		l.log().Warn("say that a checkpoint is done with", "node", m.Name, "error", err)
	}
	if ctx.Err() != nil { // the lane is granted to this node, say: it has no time for that
		return false, ctx.Err()
	}
	if err := l.adopt(); err != nil {
		return false, err
	}
	l.log().Info("seeded", "node", m.Name, "bytes", answer.Offer.Bytes(), "groups", answer.Groups, "behind", behind, "took", l.seam().Since(began))
	return true, nil
}

func (l *lane) seedFiles() string { return filepath.Join(l.seedingDir(), "files") }

// fetchSeed brings the files of an offer.
func (l *lane) fetchSeed(ctx context.Context, m *ownership.Member, o seed.Offer) error {
	n := l.app.node
	open := api.NewPieceOpener(n.port.Client(), n.port.URL)
	source := func(ctx context.Context, file string, from, bytes int64) (io.ReadCloser, error) {
		r, err := open(ctx, m.Addr, api.Piece{App: l.app.name(), Lane: l.k, ID: o.ID, File: file, From: from, Bytes: bytes})
		var said *api.Error
		if errors.As(err, &said) && said.Code == api.CodeGone {
			err = seed.ErrGone
		}
		return r, err
	}
	return seed.Fetch(ctx, seed.Fetching{
		Dir: l.seedFiles(), Offer: o, Source: source, Pace: n.seedPace, Seam: n.cfg.Seam, Log: l.log(),
		Progress: func(bytes int64) {
			l.setState(api.LaneStandby, fmt.Sprintf("a copy from node %s: %d of %d MB", m.Name, bytes>>20, o.Bytes()>>20))
		},
	})
}

// adopt makes a copy that has come whole the lane's store. A copy that is refused is removed: it
// was as it was meant to be, and is of something else.
func (l *lane) adopt() error {
	l.abandonStore()
	err := state.Adopt(l.seedFiles(), l.dir(), l.identity(), l.storeOptions())
	if err == nil {
		l.follows, l.rebuilt, l.copied = false, false, true // it is verified once it has come to the end
		l.acquired = ""                                     // a barrier may lie below where it begins
		err = l.openStore()
	}
	l.dropSeed()
	return err
}

// dropSeed removes what was received of a copy.
func (l *lane) dropSeed() {
	if err := os.RemoveAll(l.seedingDir()); err != nil {
		l.log().Warn("remove what was received of a copy", "error", err)
	}
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
