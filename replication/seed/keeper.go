package seed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Config is what a Keeper needs. Seam and Pace are required; the zero of the others is the default.
type Config struct {
	Seam seam.Seam
	Pace *Pace // of all that is sent
	Log  *slog.Logger

	// Life is how long a checkpoint is kept that nobody reads from (default 10 min). While one is
	// kept, the tables that its store no longer needs stay on the disk.
	Life time.Duration
	// Fresh is how old a checkpoint may be to be offered to another node as well (default 30 s):
	// what is behind it is read from the changelog.
	Fresh time.Duration
}

// Keeper makes checkpoints and gives out their files.
type Keeper struct {
	cfg    Config
	making chan struct{} // has room for the one who makes a checkpoint

	mu   sync.Mutex
	kept map[string]*kept // by directory
}

// kept is a checkpoint.
type kept struct {
	of         string
	offer      Offer
	made, used time.Time
	users      int // that have taken the offer and have not said that they are done
}

// ErrGone says that a checkpoint is not kept any more: another may be asked for.
var ErrGone = errors.New("the checkpoint is not kept any more")

// NewKeeper makes a keeper that keeps nothing yet.
func NewKeeper(cfg Config) *Keeper {
	if cfg.Pace == nil || cfg.Seam.Now == nil {
		panic("seed: a Keeper needs a seam and a pace")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Life == 0 {
		cfg.Life = 10 * time.Minute
	}
	if cfg.Fresh == 0 {
		cfg.Fresh = 30 * time.Second
	}
	return &Keeper{cfg: cfg, making: make(chan struct{}, 1), kept: map[string]*kept{}}
}

// Wish says which checkpoint is asked for.
type Wish struct {
	Dir string // where it is, or is to be made
	Of  string // what it is of: one of anything else in that place is not offered
	ID  string // one that was offered before, "" for any
}

// Offer offers a checkpoint: the one that is wished for, one that is fresh or that others are just
// reading, or a new one, which checkpoint has to write to the directory. One is made at a time.
func (k *Keeper) Offer(ctx context.Context, w Wish, checkpoint func(ctx context.Context, dir string) error) (Offer, error) {
	select {
	case k.making <- struct{}{}:
		defer func() { <-k.making }()
	case <-ctx.Done():
		return Offer{}, ctx.Err()
	}
	if o, ok := k.again(w); ok {
		return o, nil
	}
	k.forget(w.Dir)
	if err := errors.Join(os.RemoveAll(w.Dir), checkpoint(ctx, w.Dir)); err != nil {
		return Offer{}, err
	}
	o, err := list(ctx, k.cfg.Seam.NewID(), w.Dir)
	if err != nil {
		return Offer{}, errors.Join(err, os.RemoveAll(w.Dir))
	}
	now := k.cfg.Seam.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[w.Dir] = &kept{of: w.Of, offer: o, made: now, used: now, users: 1}
	return o, nil
}

// again offers what is kept, if it serves the wish.
func (k *Keeper) again(w Wish) (Offer, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, now := k.kept[w.Dir], k.cfg.Seam.Now()
	if c == nil || c.of != w.Of {
		return Offer{}, false
	}
	age := now.Sub(c.made)
	busy := now.Sub(c.used) <= k.cfg.Fresh && age <= k.cfg.Life
	if w.ID != c.offer.ID && age > k.cfg.Fresh && !busy {
		return Offer{}, false
	}
	if w.ID != c.offer.ID {
		c.users++
	}
	c.used = now
	return c.offer, true
}

// Open gives a piece of a file: at most so many bytes from an offset on, and how many those are. A
// checkpoint that is not kept is ErrGone.
func (k *Keeper) Open(ctx context.Context, dir, id, name string, from, bytes int64) (io.ReadCloser, int64, error) {
	file, err := k.file(dir, id, name)
	if err != nil {
		return nil, 0, err
	}
	if from < 0 || from > file.Bytes || bytes < 0 {
		return nil, 0, fmt.Errorf("the file %s has %d bytes, and %d from %d on are asked for", name, file.Bytes, bytes, from)
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, 0, err
	}
	bytes = min(bytes, file.Bytes-from)
	return &piece{ctx: ctx, k: k, dir: dir, f: f, r: io.NewSectionReader(f, from, bytes)}, bytes, nil
}

// file finds a file of a checkpoint that is kept.
func (k *Keeper) file(dir, id, name string) (File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.kept[dir]
	if c == nil || c.offer.ID != id {
		return File{}, ErrGone
	}
	c.used = k.cfg.Seam.Now()
	for _, f := range c.offer.Files {
		if f.Name == name {
			return f, nil
		}
	}
	return File{}, fmt.Errorf("the checkpoint has no file %q", name)
}

// piece is a part of a file, at the node's pace.
type piece struct {
	ctx context.Context
	k   *Keeper
	dir string
	f   *os.File
	r   *io.SectionReader
}

func (p *piece) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), bufferBytes)])
	if werr := p.k.cfg.Pace.wait(p.ctx, n); werr != nil {
		return 0, werr
	}
	return n, err
}

func (p *piece) Close() error {
	p.k.touch(p.dir)
	return p.f.Close()
}

func (k *Keeper) touch(dir string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.kept[dir]; c != nil {
		c.used = k.cfg.Seam.Now()
	}
}

// Done says that one who has taken an offer needs it no more. The last one's checkpoint is removed.
func (k *Keeper) Done(dir, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.kept[dir]
	if c == nil || c.offer.ID != id {
		return nil
	}
	if c.users--; c.users > 0 {
		return nil
	}
	delete(k.kept, dir)
	return os.RemoveAll(dir)
}

func (k *Keeper) forget(dir string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, dir)
}

// Run removes checkpoints that nobody has read from for their life, until ctx ends; then all.
func (k *Keeper) Run(ctx context.Context) {
	for k.cfg.Seam.Sleep(ctx, k.cfg.Life/20) == nil {
		k.tidy(k.cfg.Life)
	}
	k.tidy(0)
}

// tidy removes what was not used for longer than d.
func (k *Keeper) tidy(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for dir, c := range k.kept {
		if k.cfg.Seam.Since(c.used) < d {
			continue
		}
		delete(k.kept, dir)
		if err := os.RemoveAll(dir); err != nil {
			k.cfg.Log.Warn("remove a checkpoint", "dir", dir, "error", err)
		}
	}
}
