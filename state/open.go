package state

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// Open opens the store in dir, or creates it. It fails with *IdentityError if the store is
// another's, ErrLocked if it is in use, ErrNewer if a newer tally wrote it, and ErrDamaged if its
// files are broken. Nothing is written before all that is known.
func Open(dir string, id Identity, opt Options) (*Store, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := opt.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, openError(dir, err)
	}
	lock, err := pebble.LockDirectory(dir, opt.FS)
	if err != nil {
		return nil, lockError(dir, err)
	}
	s := &Store{
		dir: dir, id: id, opt: opt, cacheMax: opt.CacheBytes, lock: lock,
		watch:       newWatcher(opt.Log, dir),
		compactions: newCompactions(opt.Seam, opt.Places),
		block:       ownBlockCache(opt),
		cache:       newCache(opt.CacheBytes),
		positions:   make(map[Task]Position),
		moved:       make(map[Task]struct{}),
		rank:        ranking{compare: opt.Compare, max: opt.RankMax},
		filling:     make(chan struct{}, 1),
		filter:      newFilter(opt.CacheBytes / filterShare),
	}
	if err := s.open(); err != nil {
		_ = s.release() // the first error tells more
		return nil, err
	}
	return s, nil
}

func ownBlockCache(opt Options) *BlockCache {
	if opt.BlockCache == nil {
		return NewBlockCache(opt.BlockCacheBytes)
	}
	opt.BlockCache.Ref()
	return opt.BlockCache
}

// open checks what is there without writing, and then opens it for writing.
func (s *Store) open() error {
	if err := s.checkRefused(); err != nil {
		return err
	}
	exists, err := s.inspect()
	if err != nil {
		return err
	}
	if err := s.dropLeftovers(); err != nil {
		return err
	}
	s.compactions.rest(openRest)
	po := s.opt.pebbleOptions(s.watch, s.block, s.compactions)
	po.Lock = s.lock
	s.db, err = pebble.Open(s.dir, po)
	if failed := s.watch.failure(); failed != nil {
		return failed
	}
	if err != nil {
		return openError(s.dir, err)
	}
	if !exists {
		s.filter.active = true // nothing is there that it could lack
		s.filter.ready.Store(true)
		return s.create()
	}
	return s.recover()
}

// inspect opens the store read-only and checks its format and identity. A store without an identity
// is one whose creation a crash cut off: it must be empty, and counts as not there.
func (s *Store) inspect() (exists bool, err error) {
	po := s.opt.pebbleOptions(newWatcher(s.opt.Log, s.dir), s.block, newCompactions(s.opt.Seam, nil))
	po.Lock, po.ReadOnly = s.lock, true
	db, err := pebble.Open(s.dir, po)
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return false, s.unborn()
	}
	if err != nil {
		return false, openError(s.dir, err)
	}
	stored, err := readIdentity(db)
	if err == nil {
		_, err = readPositions(db)
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	switch {
	case errors.Is(err, errNoIdentity):
		return false, s.unborn()
	case err != nil:
		return false, openError(s.dir, err)
	}
	return true, sameIdentity(s.dir, stored, s.id)
}

// unbornBytes is more than the tables of a creation that was cut off: one with the identity.
const unbornBytes = 4 << 10

// unborn refuses a directory that is no store although it has the tables of one: its manifest, or
// the name of it, is lost. Pebble would remove them without a word.
func (s *Store) unborn() error {
	names, err := s.opt.FS.List(s.dir)
	if err != nil {
		return openError(s.dir, err)
	}
	var tables, bytes int64
	for _, n := range names {
		if !strings.HasSuffix(n, ".sst") {
			continue
		}
		info, err := s.opt.FS.Stat(s.opt.FS.PathJoin(s.dir, n))
		if err != nil {
			return openError(s.dir, err)
		}
		tables, bytes = tables+1, bytes+info.Size()
	}
	if bytes > unbornBytes {
		return damaged(s.dir, fmt.Errorf("%d tables of %d bytes belong to no manifest", tables, bytes))
	}
	return nil
}

var errNoIdentity = errors.New("no identity")

// readIdentity reads the identity and checks that no key has a format of its own beyond this
// build's: the identity's key begins with the format, so a newer store shows by any key at all.
func readIdentity(db *pebble.DB) (Identity, error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return Identity{}, err
	}
	defer func() { _ = it.Close() }()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return Identity{}, err
		}
		return Identity{}, errNoIdentity
	}
	if err := checkFormat(it.Key(), "the store"); err != nil {
		return Identity{}, err
	}
	key := storeKey(storeIdentity)
	if !it.SeekGE(key) || string(it.Key()) != string(key) {
		if err := it.Error(); err != nil {
			return Identity{}, err
		}
		return Identity{}, errors.New("it has values but no identity")
	}
	return decodeIdentity(it.Value())
}

// openError classifies what Pebble's Open says. It tells a store of a newer Pebble by its text
// alone. What the operating system refuses is no damage, unless a file is missing; all else is:
// Pebble does not mark, for instance, a table of a wrong size.
func openError(dir string, err error) error {
	var refused syscall.Errno
	switch {
	case errors.As(err, new(*DiskError)), errors.Is(err, ErrDamaged):
		return classify(dir, err)
	case strings.Contains(err.Error(), "unknown format major version"):
		return fmt.Errorf("state in %s: %w: %w: run the newer version here", dir, ErrNewer, err)
	case errors.As(err, &refused) && !notThere(refused) && !pebble.IsCorruptionError(err):
		return &DiskError{Dir: dir, Err: err}
	}
	return damaged(dir, err)
}

// notThere: a file is missing, or something else has its name.
func notThere(e syscall.Errno) bool {
	return e == syscall.ENOENT || e == syscall.ENOTDIR || e == syscall.EISDIR
}

// create writes the identity of a new store, durable before anything else is.
func (s *Store) create() error {
	if err := s.db.Set(storeKey(storeIdentity), encodeIdentity(s.id), pebble.NoSync); err != nil {
		return classify(s.dir, err)
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return classify(s.dir, err)
	}
	select {
	case <-done:
		return s.watch.failure() // a flush ends behind the brake too
	case <-s.watch.failed:
		return s.watch.failure()
	}
}

// recover reads the positions and marks of an existing store.
func (s *Store) recover() error {
	_, closer, err := s.db.Get(storeKey(storeVerified))
	switch {
	case err == nil:
		s.verified = true
		_ = closer.Close()
	case !errors.Is(err, pebble.ErrNotFound):
		return classify(s.dir, err)
	}
	if s.positions, err = readPositions(s.db); err != nil {
		return openError(s.dir, err)
	}
	return nil
}

// readPositions reads the positions of all tasks.
func readPositions(db *pebble.DB) (map[Task]Position, error) {
	prefix := storeKey(KindPosition)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = it.Close() }()
	positions := make(map[Task]Position)
	for it.First(); it.Valid(); it.Next() {
		t, _, err := splitStoreKey(it.Key())
		if err != nil {
			return nil, err
		}
		p, err := decodeStorePosition(it.Value())
		if err == nil && p.Record.Task != t {
			err = fmt.Errorf("it is of task %v", p.Record.Task)
		}
		if err != nil {
			return nil, fmt.Errorf("position of task %v: %w", t, err)
		}
		positions[t] = p
	}
	return positions, it.Error()
}

// loadFile is where a Load writes a table before Pebble takes it over.
const loadFile = "load.tmp"

func (s *Store) loadPath() string { return s.opt.FS.PathJoin(s.dir, loadFile) }

// dropLeftovers removes the table of a Load that a crash cut off.
func (s *Store) dropLeftovers() error {
	if _, err := s.opt.FS.Stat(s.loadPath()); err != nil {
		return nil // not there: the usual case
	}
	if err := s.opt.FS.Remove(s.loadPath()); err != nil {
		return &DiskError{Dir: s.dir, Err: fmt.Errorf("remove an unfinished load: %w", err)}
	}
	return nil
}

// tableOptions are how tables are written: with a filter on whole keys, but in the last level.
// There it costs a key with values more than it saves one without, and filter knows most of those.
func tableOptions(p *pebble.Options) {
	for i := range p.Levels {
		p.Levels[i].BlockSize = blockBytes
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
		p.Levels[i].FilterType = pebble.TableFilter
	}
	p.Levels[len(p.Levels)-1].FilterPolicy = pebble.NoFilterPolicy
}
