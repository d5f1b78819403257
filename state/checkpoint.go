package state

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint writes a copy of the store to dir, which must not be there and lie on the store's file
// system: its tables are hard links. The copy has all that was visible when Checkpoint began, and
// whatever else was durable when it was made, with the position of that inside.
//
// Readers and Publish go on meanwhile; they wait for no more than an apply. That the copy is a
// consistent prefix needs no lock either: it has what Pebble has flushed and ingested, and that is
// what a crash would leave.
//
// A crash in the middle leaves dir with the ending ".tmp", which is nobody's store, or nothing.
func (s *Store) Checkpoint(ctx context.Context, dir string) error {
	if err := s.flushBeside(ctx); err != nil {
		return err
	}
	if err := s.pin(); err != nil {
		return err
	}
	defer s.copying.RUnlock()
	tmp := dir + ".tmp"
	if err := s.opt.FS.RemoveAll(tmp); err != nil {
		return checkpointError(dir, err)
	}
	if err := s.db.Checkpoint(tmp); err != nil {
		return checkpointError(dir, err)
	}
	if err := s.watch.failure(); err != nil { // behind the brake Pebble believes in files that are not there
		return errors.Join(err, s.opt.FS.RemoveAll(tmp))
	}
	if err := s.opt.FS.Rename(tmp, dir); err != nil {
		return checkpointError(dir, err)
	}
	return syncDir(s.opt.FS, s.opt.FS.PathDir(dir))
}

func checkpointError(dir string, err error) error {
	return fmt.Errorf("copy the state to %s: %w", dir, err)
}

// flushBeside makes all that is visible now durable, and waits for that without the writer's lock.
func (s *Store) flushBeside(ctx context.Context) error {
	for {
		done, own, err := s.flushOrWait()
		if err != nil || done == nil {
			return err
		}
		select {
		case <-done:
		case <-s.watch.failed:
			return s.watch.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
		if own {
			return s.watch.failure()
		}
	}
}

// flushOrWait starts a flush of all that is visible, or gives the one that runs already and may
// lack some of it; nil when all is durable.
func (s *Store) flushOrWait() (done <-chan struct{}, own bool, err error) {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil {
		return nil, false, err
	}
	s.pollFlush()
	if s.flushing != nil {
		return s.flushing, false, nil
	}
	if len(s.moved) == 0 && s.memBytes == 0 {
		return nil, false, nil
	}
	if err := s.startFlush(); err != nil {
		return nil, false, err
	}
	return s.flushing, true, nil
}

// pin keeps the store from being closed until copying is unlocked.
func (s *Store) pin() error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	s.copying.RLock()
	return nil
}

// ErrUnplaced says that a copy of a store does not know its own position: it is nobody's.
var ErrUnplaced = errors.New("the copy of a store has values without a position")

// Adopt makes of a copy that Checkpoint has written, perhaps on another machine, the store in dir,
// in the place of what is there. What a copy says of itself is not believed: it must be of this
// identity and have the position of each task that has values, and it counts as not verified, since
// what it went through is not known.
//
// No store may be open in dir. A crash leaves in dir what was there, the whole copy, or nothing.
func Adopt(copied, dir string, id Identity, opt Options) error {
	opt, err := opt.withDefaults()
	if err != nil {
		return err
	}
	s, err := Open(copied, id, opt)
	if err != nil {
		return err
	}
	if err := errors.Join(s.disown(), s.Close()); err != nil {
		return err
	}
	if err := opt.FS.RemoveAll(dir); err != nil {
		return &DiskError{Dir: dir, Err: fmt.Errorf("make room for a copy: %w", err)}
	}
	if err := opt.FS.Rename(copied, dir); err != nil {
		return &DiskError{Dir: dir, Err: fmt.Errorf("take over a copy: %w", err)}
	}
	return classify(dir, errors.Join(syncDir(opt.FS, opt.FS.PathDir(dir)), syncDir(opt.FS, opt.FS.PathDir(copied))))
}

// disown checks that a copy knows its position, and takes the word from it that it was verified.
func (s *Store) disown() error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.placed(); err != nil {
		return err
	}
	b := s.db.NewBatch()
	mustFinish(b.Delete(storeKey(storeVerified), nil))
	if err := s.commit(b); err != nil {
		return err
	}
	return s.flushMemtable()
}

// placed refuses a store with values of a task whose position it does not know, or with nothing.
func (s *Store) placed() error {
	known := 0
	for _, p := range s.positions {
		if p.Known() {
			known++
		}
	}
	if known == 0 {
		return fmt.Errorf("%w: %s", ErrUnplaced, s.dir)
	}
	lower := storeKey(KindValue)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	if err != nil {
		return classify(s.dir, err)
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; {
		t, _, err := splitStoreKey(it.Key())
		if err != nil {
			return damaged(s.dir, err)
		}
		if !s.positions[t].Known() {
			return fmt.Errorf("%w: %s: stage %d, partition %d", ErrUnplaced, s.dir, t.Stage, t.Partition)
		}
		ok = it.SeekGE(after(it.Key()[:keyTask]))
	}
	return classify(s.dir, it.Error())
}

// outside reports whether a path is none of the store's own: Pebble writes there for a checkpoint
// alone, whose failure is not the store's.
func (b brake) outside(name string) bool {
	dir := filepath.Clean(b.w.dir)
	name = filepath.Clean(name)
	return name != dir && !strings.HasPrefix(name, dir+string(filepath.Separator))
}
