package replication

import (
	"context"
	"maps"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Follow reads the changelog on and on, until ctx ends: what a standby does. ends are the offsets
// that the partitions ended at when it began; once, when the store has come up to all of them,
// ready is called, and an error of it ends the follow. Until then the store is a prefix of a
// compacted log, which is no state that the lane ever had.
//
// When ctx ends Follow returns its error. The store then has every transaction that Follow had read
// whole, and a CatchUp goes on from there, with the same client; or the playback is closed. After
// another error it is of no further use, and to be closed.
func (p *Playback) Follow(ctx context.Context, ends map[int32]int64, ready func() error) error {
	if err := p.Open(); err != nil {
		return err
	}
	p.run.readTo(maps.Clone(ends))
	p.run.endless = true
	return p.run.follow(ctx, p.cl, ready)
}

func (r *run) follow(ctx context.Context, cl *kgo.Client, ready func() error) error {
	for caughtUp := false; ; {
		if !caughtUp && r.reached() {
			caughtUp = true
			if err := r.applyWhole(); err != nil {
				return err
			}
			if err := ready(); err != nil {
				return err
			}
		}
		fs := cl.PollRecords(ctx, pollRecords)
		ended := ctx.Err() // what came with it is taken all the same: the client will not give it again
		if err := r.fetchErrors(ctx, fs); err != nil {
			return err
		}
		for iter := fs.RecordIter(); !iter.Done(); {
			if err := r.take(iter.Next()); err != nil {
				return err
			}
		}
		if err := r.applyWhole(); err != nil {
			return err
		}
		if ended != nil {
			return ended
		}
		if !caughtUp {
			r.report()
		}
	}
}

// reached reports whether every partition was read up to the end that it had at the start, and no
// transaction is half read.
func (r *run) reached() bool {
	for part, end := range r.to {
		if r.at[part] < end {
			return false
		}
	}
	return len(r.loose) == 0
}

// applyWhole makes visible what was read, unless a transaction is half read: whoever asks a standby
// sees the state of a commit.
func (r *run) applyWhole() error {
	if len(r.loose) > 0 {
		return nil
	}
	return r.load.Apply()
}
