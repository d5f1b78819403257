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
		if err := r.takeAll(ctx, fs); err != nil {
			return err
		}
		if ended != nil {
			return ended
		}
		switch {
		case !caughtUp:
			r.report()
		case r.atEnd(fs):
			ended := r.pause(ctx)
			if ended == nil {
				continue
			}
			if err := r.takeRead(ctx, cl); err != nil {
				return err
			}
			return ended
		}
	}
}

// takeAll takes what a poll has brought, and makes it visible.
func (r *run) takeAll(ctx context.Context, fs kgo.Fetches) error {
	if err := r.takeFetches(ctx, fs); err != nil {
		return err
	}
	return r.applyWhole()
}

// paceRecords bounds what a poll may have brought before a pause: where so much comes, an answer is
// worth its price, and a pause would only let the copy fall behind.
const paceRecords = 2000

// atEnd reports whether a poll has come to all that was there when its answer was given.
func (r *run) atEnd(fs kgo.Fetches) bool {
	end := fs.NumRecords() < paceRecords
	fs.EachPartition(func(p kgo.FetchTopicPartition) {
		end = end && r.at[p.Partition] >= p.LastStableOffset
	})
	return end
}

// pause lets transactions gather, until FollowPace is over, somebody waits for them, or ctx ends:
// who takes the lane over waits for no pace.
func (r *run) pause(ctx context.Context) error {
	c, stop := r.cfg.Seam.Timer(r.cfg.FollowPace)
	defer stop()
	select {
	case <-c:
		return nil
	case <-r.hurry:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeRead takes what the client has read ahead, without waiting. It reads on at once then, so that
// who catches up next finds the rest there.
func (r *run) takeRead(ctx context.Context, cl *kgo.Client) error {
	var noWait context.Context // which is how franz-go is told so
	return r.takeAll(ctx, cl.PollRecords(noWait, pollRecords))
}

// Hurry ends the pause that a follow is in, or the next one: somebody waits for what it has not
// taken yet. Unlike all else of a playback it may be called at any time.
func (p *Playback) Hurry() {
	select {
	case p.hurry <- struct{}{}:
	default: // it has been told already
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
	if err := r.load.Apply(); err != nil || !r.torn {
		return err
	}
	r.torn = false
	r.cfg.Torn(false)
	return nil
}

// early is called before a chunk is made visible because it is full.
func (r *run) early() {
	if r.endless && len(r.loose) > 0 && !r.torn {
		r.torn = true
		r.cfg.Torn(true)
	}
}
