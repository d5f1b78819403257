package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/step"
)

// LoadOptions bound a Load; zeros are defaults.
type LoadOptions struct {
	// ChunkBytes bounds the records held in memory (default 32 MB, at most 1 GB). A Load takes
	// about twice as much while it writes a chunk.
	ChunkBytes int64
	// IngestBytes is the size from which a chunk is written as a sorted table and ingested (default
	// 4 MB, at most half of ChunkBytes). A smaller one goes the way of a Publish: each table costs
	// a flush before it, syncs, and a place in L0.
	IngestBytes int64
	// FlushInterval takes the place of the store's while the load goes on, if it is longer (default
	// 20 s), and no number of chunks asks for an apply: a group that changes again and again is
	// written once in that time. It bounds what a standby that was killed reads again.
	FlushInterval time.Duration
	// Early is called before a chunk is made visible only since it is full: what is seen then may
	// be of a moment within a transaction. Nil: nobody is told.
	Early func()
}

// Load takes a changelog's records into the store, in bounded chunks: the playback of a restore and
// of a standby. The records of a task come in the order of their offsets; records below the task's
// position are known and skipped.
//
// Each chunk is taken whole, with the position of every task that it moved, so what is visible and
// what survives a crash always has everything below its position. It may end within a transaction,
// since a compacted changelog has no others to end at, but prefers the end of one.
//
// One goroutine uses a Load. The store answers reads meanwhile and does not Publish. Each Load ends
// with Finish or Drop.
type Load struct {
	s     *Store
	opt   LoadOptions
	err   error // the first one; all calls return it
	ended bool

	chunk chunk
	tasks map[Task]*loadTask
	last  *loadTask // of the record before this one: most are of the same task; nil at first
}

// loadTask is a task's position as far as its records were given.
type loadTask struct {
	task  Task
	pos   Position
	index int  // in the chunk's tasks, if moved
	moved bool // since the last chunk
}

// Load starts a load. What was published before is applied first.
func (s *Store) Load(opt LoadOptions) *Load {
	setDefault(&opt.ChunkBytes, 32<<20)
	setDefault(&opt.IngestBytes, 4<<20)
	setDefault(&opt.FlushInterval, 20*time.Second)
	opt.ChunkBytes = min(opt.ChunkBytes, chunkMax)
	// A chunk may be applied when it is half full.
	opt.IngestBytes = min(opt.IngestBytes, opt.ChunkBytes/2)
	s.w.Lock()
	defer s.w.Unlock()
	l := &Load{s: s, opt: opt, tasks: make(map[Task]*loadTask)}
	if l.err = s.writable(); l.err != nil {
		return l
	}
	if s.loading {
		panic("state: two Loads at a time: a lane has one playback")
	}
	s.loading, s.loadInterval = true, max(opt.FlushInterval, s.opt.FlushInterval)
	s.mu.Lock()
	s.rank.drop()
	s.mu.Unlock()
	l.err = s.apply()
	for t, p := range s.positions {
		l.tasks[t] = &loadTask{task: t, pos: p}
	}
	return l
}

// Value takes the record of a group's values at the changelog offset. The slices are the caller's
// again when it returns.
func (l *Load) Value(t Task, group, values []byte, offset int64) error {
	p, known := l.reach(t, offset)
	if known || l.err != nil {
		return l.err
	}
	l.chunk.add(p.index, t, group, values)
	p.pos.Changelog = offset + 1
	if l.chunk.size() >= l.opt.ChunkBytes {
		return l.applyEarly()
	}
	return nil
}

func (l *Load) applyEarly() error {
	if l.opt.Early != nil {
		l.opt.Early()
	}
	return l.Apply()
}

// Position takes a position record at the changelog offset; it becomes the task's record. One of
// another app, generation or topic is refused: *IdentityError.
func (l *Load) Position(t Task, rec PositionRecord, offset int64) error {
	if err := l.checkRecord(t, rec); err != nil {
		return l.fail(err)
	}
	p, known := l.reach(t, offset)
	if known || l.err != nil {
		return l.err
	}
	p.pos = Position{Record: rec, Changelog: offset + 1}
	if l.chunk.size() >= l.opt.ChunkBytes/2 { // a transaction's end: better here than within the next
		return l.applyEarly()
	}
	return nil
}

// Advance tells that the changelog has nothing more below next: barriers, control records, aborted
// data and gaps are passed.
func (l *Load) Advance(t Task, next int64) error {
	p, known := l.reach(t, next-1)
	if known || l.err != nil {
		return l.err
	}
	p.pos.Changelog = next
	return nil
}

func (l *Load) checkRecord(t Task, rec PositionRecord) error {
	if l.err != nil {
		return l.err
	}
	if rec.Task != t {
		return fmt.Errorf("the changelog of stage %d, partition %d holds a position record of stage %d, partition %d",
			t.Stage, t.Partition, rec.Stage, rec.Partition)
	}
	return l.s.id.checkRecord(rec)
}

// reach returns the task, marked as moved, or that the store has the record at offset already.
func (l *Load) reach(t Task, offset int64) (p *loadTask, known bool) {
	if l.ended && l.err == nil {
		panic("state: a Load was used after its end")
	}
	if p = l.last; p == nil || p.task != t {
		p = l.task(t)
		l.last = p
	}
	if offset < p.pos.Changelog {
		return p, true
	}
	if !p.moved {
		p.moved, p.index = true, l.chunk.task(t)
	}
	return p, false
}

func (l *Load) task(t Task) *loadTask {
	p := l.tasks[t]
	if p == nil {
		p = &loadTask{task: t, pos: Position{Record: PositionRecord{Task: t}}}
		l.tasks[t] = p
	}
	return p
}

// Apply makes all that was taken visible, without waiting until it is durable: a standby calls it
// at the end of what it has fetched.
func (l *Load) Apply() error {
	if l.err != nil {
		return l.err
	}
	pos := l.take()
	if len(pos) == 0 {
		return nil
	}
	l.s.w.Lock()
	defer l.s.w.Unlock()
	err := l.s.writable()
	if err == nil {
		err = l.applyChunk(pos)
	}
	l.chunk.reset()
	return l.fail(err)
}

// take returns the positions of the tasks that moved, which are still again.
func (l *Load) take() []Position {
	var pos []Position
	for _, p := range l.tasks {
		if p.moved {
			p.moved = false
			pos = append(pos, p.pos)
		}
	}
	return pos
}

func (l *Load) applyChunk(pos []Position) error {
	var err error
	if l.chunk.size() >= l.opt.IngestBytes {
		l.chunk.sort()
		err = l.ingest(pos)
	} else {
		l.show(pos)
	}
	if err != nil {
		return err
	}
	l.s.opt.Step.At(step.CatchUp)
	return l.s.work()
}

// show makes a small chunk visible the way Publish does: through the cache, whence it goes to
// Pebble when that is due. Its groups are the ones that change now, and an owner to be wants them
// warm. Entries come in the order of their offsets, so the latest of a group is what stays.
func (l *Load) show(pos []Position) {
	s := l.s
	s.mu.Lock()
	for run := range slices.Chunk(l.chunk.entries, touchRun) {
		s.keys.reset()
		for _, e := range run {
			s.keys.addKey(l.chunk.keyOf(e))
		}
		s.cache.touch(&s.keys)
		for i, e := range run {
			_, values := l.chunk.parts(e)
			s.cache.put(s.keys.hash[i], s.keys.key(i), values, true)
		}
	}
	s.move(pos)
	s.mu.Unlock()
	s.published(pos)
	l.tell()
}

// tell gives subscriptions the chunk's changes.
func (l *Load) tell() {
	if !l.s.subs.any() {
		return
	}
	var ch []Change
	l.chunk.each(func(key, values []byte) {
		t, group, err := splitStoreKey(key)
		if err != nil {
			panic("state: a chunk holds a key that is none: " + err.Error())
		}
		ch = append(ch, Change{Task: t, Group: group, Values: values})
	})
	l.s.subs.tell(ch)
}

// ingest writes a large chunk as one sorted table, positions inside, and gives it to Pebble. It is
// durable at once, so the memtables below it are flushed first: else a crash could keep the table
// and lose what came before it.
func (l *Load) ingest(pos []Position) error {
	s := l.s
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.restCompactions(); err != nil {
		return err
	}
	if err := s.writeTable(pos, &l.chunk); err != nil {
		return err
	}
	s.noteKeys(len(l.chunk.entries), func(i int) []byte { return l.chunk.keyOf(l.chunk.entries[i]) })
	s.mu.Lock()
	err := s.db.Ingest(context.Background(), []string{s.loadPath()})
	if err == nil {
		if s.cache.groups() > 0 {
			l.chunk.each(func(key, values []byte) { s.cache.update(hashKey(key), key, values) })
		}
		s.move(pos)
	}
	s.mu.Unlock()
	if err != nil {
		return classify(s.dir, err)
	}
	s.opt.Step.At(step.Ingest)
	s.subs.tellLost()
	return nil
}

// Finish applies the rest and returns when all is visible and durable.
func (l *Load) Finish() error {
	err := l.Apply()
	if err == nil {
		err = l.s.Flush()
	}
	l.end()
	return l.fail(err)
}

// Drop ends the load; what was not applied is forgotten. After Finish it does nothing.
func (l *Load) Drop() { l.end() }

func (l *Load) end() {
	if l.ended {
		return
	}
	l.ended = true
	l.chunk = chunk{}
	l.s.w.Lock()
	defer l.s.w.Unlock()
	l.s.loading = false
	if !l.s.pendingSince.IsZero() { // an owner's commits do not wait for what the standby has put off
		l.s.pendingSince = l.s.opt.Seam.Now()
	}
}

func (l *Load) fail(err error) error {
	if l.err == nil {
		l.err = err
	}
	return l.err
}
