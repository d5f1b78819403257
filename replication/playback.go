package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/state"
)

// Config is what a playback of one lane needs. Zero limits mean their defaults.
type Config struct {
	Kafka     kafka.Config
	Changelog string       // topic
	Tasks     []state.Task // the lane's tasks; a changelog partition holds the tasks of its number
	Store     *state.Store
	// Progress is called after each poll that brought records. It must not block.
	Progress func(Progress)
	// Barrier is called with each barrier that is read: who writes one has the lane from there on,
	// whether or not a position follows. Default: nothing.
	Barrier func(state.Barrier)

	// Torn is told, by a follow, true before what the store shows may be of a moment within a
	// transaction, one that is too large to be held back, and false when it is the state of a
	// commit again. Default: nothing.
	Torn func(torn bool)

	ChunkBytes          int64 // folded values held before they are applied; default 32 MB
	IngestBytes         int64 // of a chunk that is ingested as a table; default: as state.LoadOptions has it
	FetchBytes          int32 // on the wire; default 4 MB
	FetchPartitionBytes int32 // default 1 MB
	DecompressBytes     int   // of one batch; default 64 MB

	// FollowPace is how long a follow that has come to the end waits before it takes what came
	// since (default 50 ms). What an answer of a broker costs hangs little on what is in it, so one
	// is to bring the transactions of a while. The copy is older by up to twice that, since the
	// client has read ahead by then.
	FollowPace time.Duration

	Seam seam.Seam
	Step step.Hook
}

func (c Config) withDefaults() Config {
	if c.Barrier == nil {
		c.Barrier = func(state.Barrier) {}
	}
	if c.Torn == nil {
		c.Torn = func(bool) {}
	}
	if c.ChunkBytes == 0 {
		c.ChunkBytes = 32 << 20
	}
	if c.FetchBytes == 0 {
		c.FetchBytes = 4 << 20
	}
	if c.FetchPartitionBytes == 0 {
		c.FetchPartitionBytes = 1 << 20
	}
	if c.DecompressBytes == 0 {
		c.DecompressBytes = 64 << 20
	}
	if c.FollowPace == 0 {
		c.FollowPace = 50 * time.Millisecond
	}
	return c
}

// fetchWait is how long a broker may hold a fetch that finds nothing. A partition that has been
// read through would otherwise hold up those whose start is still being looked up: a client has one
// fetch at a broker at a time, and by default it waits there for 5 s.
const fetchWait = 100 * time.Millisecond

// stallWait is how long a catch-up waits for a record. The barrier is written, so there is always
// one to come: none for so long means that Kafka is away, or that this client has lost its way.
const stallWait = 20 * time.Second

// ErrStalled ends a catch-up to which nothing comes any more. A later one, with a client of its
// own, goes on from the store's position.
var ErrStalled = errors.New("no record of the changelog came for 20 s although the barrier is written")

// Progress tells how far a catch-up has come. Offsets are sums over the lane's partitions.
type Progress struct {
	From, At, To int64 // changelog offsets
	Records      int64 // value and position records read
	Elapsed      time.Duration
}

// Playback reads one lane's changelog into its store.
type Playback struct {
	cfg   Config
	tasks map[int32][]state.Task // by changelog partition
	hurry chan struct{}          // holds that somebody waits for what a follow has not taken yet

	// nil: not open
	run  *run
	cl   *kgo.Client
	drop context.CancelFunc // ends all that cl waits for
}

// New prepares a playback.
func New(cfg Config) *Playback {
	p := &Playback{cfg: cfg.withDefaults(), tasks: map[int32][]state.Task{}, hurry: make(chan struct{}, 1)}
	for _, t := range cfg.Tasks {
		p.tasks[t.Partition] = append(p.tasks[t.Partition], t)
	}
	return p
}

// CatchUp reads until the barrier of each partition, whose offsets are in to, and returns what it
// read. When it returns without an error the store has everything below the barriers, and flushes
// it as it flushes all else: what is not durable yet is in the changelog, and waiting for the disk
// would only make the start longer. After an error the store is still consistent: a later CatchUp
// of another Playback goes on from its position.
//
// It goes on where Open or Follow has come to. The playback is closed when it returns.
func (p *Playback) CatchUp(ctx context.Context, to map[int32]int64) (Progress, error) {
	defer p.Close()
	if err := p.refuseAhead(to); err != nil {
		return Progress{}, err
	}
	if err := p.Open(); err != nil {
		return Progress{}, err
	}
	r := p.run
	r.progress, r.began, r.endless = Progress{From: r.sum()}, p.cfg.Seam.Now(), false
	r.readTo(to)
	if err := r.play(ctx, p.cl); err != nil {
		return r.progress, err
	}
	if err := r.load.Apply(); err != nil {
		return r.progress, fmt.Errorf("apply the changelog: %w", err)
	}
	r.report()
	return r.progress, nil
}

// refuseAhead refuses a store that has applied more than there is below the barriers.
func (p *Playback) refuseAhead(to map[int32]int64) error {
	for part, tasks := range p.tasks {
		for _, t := range tasks {
			if pos, _ := p.cfg.Store.Position(t); pos.Changelog > to[part] {
				return &AheadError{Topic: p.cfg.Changelog, Partition: part, Store: pos.Changelog, Barrier: to[part]}
			}
		}
	}
	return nil
}

// Open opens a client at the store's position, which connects and reads ahead from then on: whoever
// calls it before it is known how far to read finds the records there. Once it is open nothing is
// published to the store until it is closed.
func (p *Playback) Open() error {
	if p.run != nil {
		return nil
	}
	run := &run{Playback: p, at: map[int32]int64{}, loose: map[state.Task]int64{}, began: p.cfg.Seam.Now()}
	offsets := map[int32]kgo.Offset{}
	for part := range p.tasks {
		from, known := p.from(part)
		offsets[part] = kgo.NewOffset().AtStart()
		if known {
			offsets[part] = kgo.NewOffset().At(from)
		}
		run.at[part] = from
		run.progress.From += from
	}
	life, drop := context.WithCancel(context.Background())
	cl, err := p.client(life, offsets)
	if err != nil {
		drop()
		return err
	}
	run.load = p.cfg.Store.Load(state.LoadOptions{ChunkBytes: p.cfg.ChunkBytes, IngestBytes: p.cfg.IngestBytes, Early: run.early})
	p.run, p.cl, p.drop = run, cl, drop
	return nil
}

// Close ends what Open, Follow or CatchUp have begun, and waits for no broker. What was read of a
// transaction that was not read whole is forgotten.
func (p *Playback) Close() {
	if p.run == nil {
		return
	}
	p.drop()
	p.cl.Close()
	p.run.load.Drop()
	p.run, p.cl, p.drop = nil, nil, nil
}

// from is the next offset of the task that has come least far: the others skip what they know.
// known is false while one of them has read nothing.
func (p *Playback) from(part int32) (from int64, known bool) {
	for i, t := range p.tasks[part] {
		pos, ok := p.cfg.Store.Position(t)
		if !ok {
			return 0, false
		}
		if i == 0 || pos.Changelog < from {
			from = pos.Changelog
		}
	}
	return from, true
}

func (p *Playback) client(life context.Context, offsets map[int32]kgo.Offset) (*kgo.Client, error) {
	return p.cfg.Kafka.Client(
		kgo.WithContext(life), // so that Close waits for no broker once that has ended
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{p.cfg.Changelog: offsets}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(p.cfg.FetchBytes),
		kgo.FetchMaxPartitionBytes(p.cfg.FetchPartitionBytes),
		kgo.MaxDecompressBatchBytes(p.cfg.DecompressBytes),
		kgo.WithPools(&kafka.RecordPool{}),
	)
}

// run is one way through the changelog.
type run struct {
	*Playback
	load     *state.Load
	to       map[int32]int64
	at       map[int32]int64      // next offset a partition
	loose    map[state.Task]int64 // offset of the first value behind which no position record came yet
	row      state.Task           // whose values came last, where inRow; that task is in loose
	inRow    bool
	progress Progress
	began    time.Time
	endless  bool // a follow: what is behind to is taken as well
	torn     bool // Config.Torn was told so
}

// readTo says how far each partition is read.
func (r *run) readTo(to map[int32]int64) {
	r.to, r.progress.To = to, 0
	for part := range r.tasks {
		r.progress.To += to[part]
	}
}

// pollRecords bounds what one poll takes out of the client's buffer.
const pollRecords = 20_000

func (r *run) play(ctx context.Context, cl *kgo.Client) error {
	for !r.done() {
		bounded, cancel := context.WithTimeout(ctx, stallWait)
		fs := cl.PollRecords(bounded, pollRecords)
		stalled := bounded.Err() != nil && fs.NumRecords() == 0
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		if stalled {
			return ErrStalled
		}
		if err := r.takeFetches(ctx, fs); err != nil {
			return err
		}
		r.report()
	}
	return nil
}

// done reports whether every partition was read through its barrier. The barrier is a record of its
// own key and is read like any other, so no rule about markers or gaps at the end is needed.
func (r *run) done() bool {
	for part, barrier := range r.to {
		if r.at[part] <= barrier {
			return false
		}
	}
	return true
}

// fetchErrors are those of a poll, but for the end of its context.
func (r *run) fetchErrors(ctx context.Context, fs kgo.Fetches) error {
	var errs []error
	fs.EachError(func(topic string, part int32, err error) {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return
		}
		var lost *kgo.ErrDataLoss
		if errors.As(err, &lost) {
			errs = append(errs, &AheadError{Topic: topic, Partition: part, Store: lost.ConsumedTo, Barrier: lost.ResetTo, Lost: true})
			return
		}
		errs = append(errs, fmt.Errorf("read %s/%d at offset %d (to be read to %d): %w",
			topic, part, r.at[part], r.to[part], err))
	})
	return errors.Join(errs...)
}

// takeFetches takes what a poll has brought.
func (r *run) takeFetches(ctx context.Context, fs kgo.Fetches) error {
	err := r.fetchErrors(ctx, fs)
	fs.EachPartition(func(p kgo.FetchTopicPartition) {
		if err == nil {
			err = r.unbroken(p)
		}
		for _, rec := range p.Records {
			if err != nil {
				return
			}
			err = r.take(rec)
			rec.Recycle() // the load has copied it
		}
	})
	return err
}

// unbroken refuses to read on where records between what the store has and what has come were
// deleted: franz-go passes over them where it looks the log's bounds up. A new store made from what
// there is tells whether that is all.
func (r *run) unbroken(p kgo.FetchTopicPartition) error {
	if at := r.at[p.Partition]; at > 0 && len(p.Records) > 0 && p.LogStartOffset > at {
		return fmt.Errorf("%s/%d begins at offset %d, and the store has it up to %d only: %w", p.Topic, p.Partition, p.LogStartOffset, at, state.ErrDamaged)
	}
	return nil
}

// take puts one record into the load. A catch-up leaves records behind the barrier for whoever
// reads next.
func (r *run) take(rec *kgo.Record) error {
	if !r.endless && rec.Offset > r.to[rec.Partition] {
		return nil
	}
	if at := r.at[rec.Partition]; rec.Offset < at {
		// franz-go moves an offset into the bounds that a broker names, and those may be old.
		return fmt.Errorf("read %s/%d: got offset %d after %d was asked for: a broker's answer was old",
			rec.Topic, rec.Partition, rec.Offset, at)
	}
	r.at[rec.Partition] = rec.Offset + 1
	if rec.Attrs.IsControl() {
		return r.pass(rec)
	}
	kind, stage, group, err := state.DecodeKey(rec.Key)
	if err != nil {
		return foreign(rec, err)
	}
	task, err := r.task(rec, stage)
	if err != nil {
		return err
	}
	switch kind {
	case state.KindBarrier:
		b, err := state.DecodeBarrier(rec.Value)
		if err == nil && b.Task != task {
			err = fmt.Errorf("the barrier is of stage %d, partition %d", b.Stage, b.Partition)
		}
		if err != nil {
			return foreign(rec, err)
		}
		r.cfg.Barrier(b)
		// Only at the end: of a barrier's transactions before it, compaction takes the position
		// records away when there is a newer one behind it, and leaves their values.
		if offset, ok := r.loose[task]; ok && !r.endless && rec.Offset == r.to[rec.Partition] {
			return &LooseError{Topic: rec.Topic, Partition: rec.Partition, Offset: offset}
		}
		return r.pass(rec)
	case state.KindPosition:
		delete(r.loose, task)
		r.inRow = false
		err = r.takePosition(rec, task)
	default:
		r.loosen(task, rec.Offset)
		err = r.takeValue(rec, task, group)
	}
	r.progress.Records++
	if err != nil || len(r.tasks[rec.Partition]) == 1 {
		return err
	}
	return r.pass(rec) // for the partition's other task; that of the record knows it by now
}

// loosen notes that the task has a value behind which no position record came yet. Values of a task
// come in a row, of which the first says it.
func (r *run) loosen(task state.Task, offset int64) {
	if r.inRow && r.row == task {
		return
	}
	if _, is := r.loose[task]; !is {
		r.loose[task] = offset
	}
	r.row, r.inRow = task, true
}

// pass tells each task of the partition that the record is none of its own.
func (r *run) pass(rec *kgo.Record) error {
	for _, t := range r.tasks[rec.Partition] {
		if err := r.load.Advance(t, rec.Offset+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) task(rec *kgo.Record, stage uint8) (state.Task, error) {
	for _, t := range r.tasks[rec.Partition] {
		if t.Stage == stage {
			return t, nil
		}
	}
	return state.Task{}, foreign(rec, fmt.Errorf("it is of stage %d, which the app does not have in this partition", stage))
}

func (r *run) takeValue(rec *kgo.Record, task state.Task, group []byte) error {
	values, err := state.DecodeValue(rec.Value)
	if err != nil {
		return foreign(rec, err)
	}
	return r.load.Value(task, group, values, rec.Offset)
}

func (r *run) takePosition(rec *kgo.Record, task state.Task) error {
	pos, err := state.DecodePosition(rec.Value)
	if err == nil && pos.Task != task {
		err = fmt.Errorf("it is of task %v", pos.Task)
	}
	if err != nil {
		return foreign(rec, err)
	}
	return r.load.Position(task, pos, rec.Offset)
}

func foreign(rec *kgo.Record, err error) error {
	if errors.Is(err, state.ErrNewer) { // the app's, and not for this build to read
		return fmt.Errorf("%s/%d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err)
	}
	return fmt.Errorf("%s/%d offset %d: %w: %w", rec.Topic, rec.Partition, rec.Offset, ErrForeign, err)
}

func (r *run) report() {
	r.progress.At = r.sum()
	r.progress.Elapsed = r.cfg.Seam.Since(r.began)
	if r.cfg.Progress != nil {
		r.cfg.Progress(r.progress)
	}
}

// sum is how far all partitions together were read.
func (r *run) sum() (at int64) {
	for _, next := range r.at {
		at += next
	}
	return at
}

// AheadError says that a store has applied more of the changelog than the changelog has: what Kafka
// holds is older than what it once acknowledged.
type AheadError struct {
	Topic          string
	Partition      int32
	Store, Barrier int64 // next offset of the store; offset of the barrier just written
	// Lost says that Kafka's own account of its leaders has told, and no barrier: what is left of
	// that which was read ends at Barrier.
	Lost bool
}

func (e *AheadError) Error() string {
	if e.Lost {
		return fmt.Sprintf("%s/%d was read up to offset %d, and of that only what is below offset %d is left: Kafka lost records that it had acknowledged; to count on from what Kafka has, stop the node, remove the state directory",
			e.Topic, e.Partition, e.Store, e.Barrier)
	}
	return fmt.Sprintf("the store has applied %s/%d up to offset %d, but a record written now got offset %d: Kafka was restored from an older copy, or the topic was truncated; to count on from what Kafka has, stop the node, remove the state directory",
		e.Topic, e.Partition, e.Store, e.Barrier)
}

// LooseError says that a value in the changelog has no position record between it and the barrier
// at which a catch-up ends. Each transaction of the app ends in one, of which compaction keeps the
// last: the value is somebody else's. The store may have taken it.
type LooseError struct {
	Topic     string
	Partition int32
	Offset    int64
}

func (e *LooseError) Error() string {
	return fmt.Sprintf("%s/%d offset %d: %v: it is a value, and no position record behind it vouches for it: another program writes to this topic",
		e.Topic, e.Partition, e.Offset, ErrForeign)
}

// Unwrap says that the record is not the app's.
func (e *LooseError) Unwrap() error { return ErrForeign }

// ErrForeign says that the changelog holds a record that the app did not write.
var ErrForeign = errors.New("not a record of this app")
