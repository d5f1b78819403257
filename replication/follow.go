package replication

import (
	"context"
	"maps"
	"math"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Follow reads the changelog on and on, until ctx ends: what a standby does. ends are the offsets
// that the partitions ended at when it began; once, when the store has come up to all of them,
// ready is called, and an error of it ends the follow. Until then the store is a prefix of a
// compacted log, which is no state that the lane ever had.
//
// When ctx ends Follow returns its error. The store then has every transaction that Follow had read
// whole, and a CatchUp goes on from there.
func (p *Playback) Follow(ctx context.Context, ends map[int32]int64, ready func() error) error {
	endless := map[int32]int64{}
	for part := range p.tasks {
		endless[part] = math.MaxInt64
	}
	run, cl, err := p.begin(ctx, endless)
	if err != nil {
		return err
	}
	defer cl.Close()
	defer run.load.Drop()
	run.to, run.endless, run.progress.To = maps.Clone(ends), true, 0
	for _, end := range ends {
		run.progress.To += end
	}
	return run.follow(ctx, cl, ready)
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
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.fetchErrors(fs); err != nil {
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
