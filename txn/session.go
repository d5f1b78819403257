package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
)

// Config is what a lane's sessions need. Zero limits mean their defaults.
type Config struct {
	Kafka           kafka.Config
	TransactionalID string // stable: <app>.lane-<k>
	Group           string // the consumer group that mirrors the positions: the app's name
	// Sources are the topics that the lane reads, with their ids: the input, and the repartition
	// topic of an app of two stages. The zero id is not looked at.
	Sources    map[string][16]byte
	AddOffsets bool // the broker's transaction.version is below 2: AddOffsetsToTxn comes first

	Timeout       time.Duration // transaction timeout at the broker; default 10 s
	CommitTimeout time.Duration // bound of flush, offsets and EndTxn together; default 30 s

	// Fetched data is bounded by its size on the wire here and, against compression that hides its
	// size, by DecompressBytes for one batch.
	FetchBytes          int32 // default 1 MB
	FetchPartitionBytes int32 // default 300 KB
	DecompressBytes     int   // default 64 MB
	BatchBytes          func(topic string) int32
	// HeldBack is a source that is not read while the others have more than HoldBackAt records
	// waiting (default 500,000): what is made of it would only wait there too. "": none.
	HeldBack        string
	HoldBackAt      int64
	BufferedRecords int // records of one transaction that the client holds; default 4 M

	Seam seam.Seam
	Step step.Hook
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.CommitTimeout == 0 {
		c.CommitTimeout = 30 * time.Second
	}
	if c.FetchBytes == 0 {
		c.FetchBytes = 1 << 20
	}
	if c.FetchPartitionBytes == 0 {
		c.FetchPartitionBytes = 300 << 10
	}
	if c.DecompressBytes == 0 {
		c.DecompressBytes = 64 << 20
	}
	if c.HoldBackAt == 0 {
		c.HoldBackAt = 500_000
	}
	if c.BufferedRecords == 0 {
		c.BufferedRecords = 4 << 20
	}
	return c
}

// Session is one fenced client. Its methods are for one goroutine at a time, except that Poll may
// run beside the others.
type Session struct {
	cfg  Config
	cl   *kgo.Client
	drop context.CancelFunc // ends all that the client is waiting for

	ends   atomic.Int64 // EndTxn requests that were written
	turned atomic.Bool  // see listener

	// produced and refused belong to the open transaction. Invariant: EndTxn is never sent while
	// produced is 0 or refused is set.
	produced int
	refused  atomic.Pointer[ProduceError]
	promise  func(*kgo.Record, error) // acknowledged: one value for all records
	// written has a partition of each topic that was produced to, and settled is how many of them,
	// from the first on, settle has seen loaded.
	written []TopicPartition
	settled int

	mu       sync.Mutex
	position Offsets                        // next offset that Poll will read, for the error that names it
	epochs   map[TopicPartition][]epochSpan // of the positions that a commit may yet name

	// Of Poll alone: how many records waited in each partition behind those that it was given last,
	// and whether HeldBack is paused.
	waiting map[TopicPartition]int64
	held    bool
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Offsets are offsets by partition.
type Offsets map[TopicPartition]int64

// Of is the offsets of one topic's partitions.
func (o Offsets) Of(topic string) map[int32]int64 {
	of := map[int32]int64{}
	for p, at := range o {
		if p.Topic == topic {
			of[p.Partition] = at
		}
	}
	return of
}

// Fence takes the lane: a new client and InitProducerID on the lane's transactional id. When it
// returns, no earlier session of that id can commit, and what this one reads is not older. ctx
// bounds the call.
func Fence(ctx context.Context, cfg Config) (*Session, error) {
	r, err := Prepare(cfg)
	if err != nil {
		return nil, err
	}
	return r.Fence(ctx)
}

// Ready is a client for a lane that this process may have to take soon. It has fenced nobody.
type Ready struct{ s *Session }

// Prepare makes a client. It connects at its first use.
func Prepare(cfg Config) (*Ready, error) {
	s := &Session{cfg: cfg.withDefaults(), position: Offsets{}, epochs: map[TopicPartition][]epochSpan{}, waiting: map[TopicPartition]int64{}}
	s.promise = s.acknowledged
	life, drop := context.WithCancel(context.Background())
	cl, err := s.cfg.Kafka.Client(append(s.options(), kgo.WithContext(life))...)
	if err != nil {
		drop()
		return nil, err
	}
	s.cl, s.drop = cl, drop
	return &Ready{s}, nil
}

// Warm connects to the broker that coordinates the lane's transactions, by a question that changes
// nothing. Whether that succeeds does not matter: Fence does what is left.
func (r *Ready) Warm(ctx context.Context) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{r.s.cfg.TransactionalID}
	_, _ = req.RequestWith(ctx, r.s.cl)
}

// Fence is the Fence of this client, whose end it is when it fails.
func (r *Ready) Fence(ctx context.Context) (*Session, error) {
	if _, _, err := r.s.cl.ProducerID(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("fence %s: %w", r.s.cfg.TransactionalID, err)
	}
	r.s.cfg.Step.At(step.Fence)
	return r.s, nil
}

// Close drops the client. It is not called after Fence.
func (r *Ready) Close() { r.s.Close() }

// idleTimeout is below the 10 minutes after which a broker hangs up.
const idleTimeout = 9 * time.Minute

func (s *Session) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.TransactionalID(s.cfg.TransactionalID),
		kgo.TransactionTimeout(s.cfg.Timeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(s.cfg.BufferedRecords),
		kgo.ProducerBatchCompression(kgo.NoCompression()), // what every consumer can read without a further library
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(s.cfg.FetchBytes),
		kgo.FetchMaxPartitionBytes(s.cfg.FetchPartitionBytes),
		kgo.MaxDecompressBatchBytes(s.cfg.DecompressBytes),
		kgo.ConcurrentTransactionsBackoff(5 * time.Millisecond),
		kgo.ConnIdleTimeout(idleTimeout), // of a Ready: by default a client hangs up after 30 s
		kgo.WithHooks(endTxnHook{s.cfg.Step, &s.ends}),
		kgo.WithLogger(listener{s.cfg.Kafka.Logger(), &s.turned}),
		kgo.WithPools(&kafka.RecordPool{}),
	}
	if s.cfg.AddOffsets {
		opts = append(opts, kgo.MaxVersions(beforeKIP890()))
	}
	if s.cfg.BatchBytes != nil {
		opts = append(opts, kgo.ProducerBatchMaxBytesFn(s.cfg.BatchBytes))
	}
	return opts
}

// beforeKIP890 holds a session to the protocol in which partitions and groups are added to a
// transaction by requests of their own. Without it the client would take a new producer id for the
// newer one in the middle of the session in which an operator raises the version.
func beforeKIP890() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	return v
}

// endTxnHook reports the moment at which EndTxn is on the wire, and counts them.
type endTxnHook struct {
	step step.Hook
	sent *atomic.Int64
}

// OnBrokerWrite is franz-go's hook after a request was written.
func (h endTxnHook) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == kmsg.EndTxn.Int16() && err == nil {
		h.sent.Add(1)
		h.step.At(step.EndTxnSent)
	}
}

// listener hears of a commit that franz-go turns into an abort. Under transactions v2 it does so
// where it believes that no produce of the transaction has succeeded, and EndTransaction returns
// nil. Nothing but its log tells. The one way by which it came to believe so of records that were
// acknowledged is closed by settle; this is for those that nobody has met.
type listener struct {
	to     kgo.Logger // nil: nobody
	turned *atomic.Bool
}

// turnedText begins what franz-go v1.22 says then; a test holds it to that.
const turnedText = "no produce succeeded in this transaction"

// Level is that of what is listened for, or of who else listens.
func (l listener) Level() kgo.LogLevel {
	if l.to != nil {
		return max(l.to.Level(), kgo.LogLevelInfo)
	}
	return kgo.LogLevelInfo
}

// Log is franz-go's.
func (l listener) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if strings.HasPrefix(msg, turnedText) {
		l.turned.Store(true)
	}
	if l.to != nil && level <= l.to.Level() {
		l.to.Log(level, msg, keyvals...)
	}
}

// Close drops the client with everything it has fetched or not yet sent. An open transaction stays
// open at the broker until the next fence or its timeout. It waits for no broker: franz-go's Close
// alone says goodbye to each one that was read from, behind all that this one has not answered yet,
// and a frozen broker would hold up a node that is asked to stop.
func (s *Session) Close() {
	s.drop()
	s.cl.Close()
}

// Barrier commits these records, alone in a transaction, and returns the last offset in each of
// their partitions. An acknowledged offset of one's own write proves the end of the partition,
// where a deposed broker's answer to a question does not.
func (s *Session) Barrier(ctx context.Context, recs []*kgo.Record) (Offsets, error) {
	if err := s.Begin(); err != nil {
		return nil, err
	}
	for _, r := range recs {
		s.Produce(r)
	}
	if _, err := s.Commit(ctx, nil); err != nil {
		return nil, fmt.Errorf("barrier of %s: %w", s.cfg.TransactionalID, err)
	}
	offsets := make(Offsets, len(recs))
	for _, r := range recs {
		at := TopicPartition{r.Topic, r.Partition}
		offsets[at] = max(offsets[at], r.Offset)
	}
	s.cfg.Step.At(step.Barrier)
	return offsets, nil
}

// Assign starts to read the sources at these offsets. It is called once, before the first Poll.
// Where the leader epoch of a position is known, the client first asks the partition's leader up to
// where it has that epoch's records: a log that was cut off below the position, and has grown again
// since, is a TruncatedError.
func (s *Session) Assign(positions Offsets, epochs Epochs) {
	at := map[string]map[int32]kgo.Offset{}
	s.mu.Lock()
	for p, o := range positions {
		if at[p.Topic] == nil {
			at[p.Topic] = map[int32]kgo.Offset{}
		}
		offset := kgo.NewOffset().At(o)
		if epoch, known := epochs[p]; known {
			offset = offset.WithEpoch(epoch)
			s.epochs[p] = []epochSpan{{o, o, epoch}}
		}
		at[p.Topic][p.Partition] = offset
		s.position[p] = o
	}
	s.mu.Unlock()
	s.cl.AddConsumePartitions(at)
}

// Poll waits for up to max records of the sources; control records are among them. waiting is how
// many there were behind them, and in the other partitions, when these were fetched last. It
// returns nil records when ctx ends, and an error when a partition can no longer be read. A record
// that is needed no more may be given back by Recycle, which spares memory.
func (s *Session) Poll(ctx context.Context, max int) (recs []*kgo.Record, waiting int64, err error) {
	fs := s.cl.PollRecords(ctx, max)
	if fs.IsClientClosed() {
		return nil, 0, kgo.ErrClientClosed
	}
	var errs []error
	fs.EachError(func(topic string, partition int32, err error) {
		s.mu.Lock()
		at := s.position[TopicPartition{topic, partition}]
		s.mu.Unlock()
		if e := s.fetchError(topic, partition, at, err); e != nil {
			errs = append(errs, e)
		}
	})
	if err := errors.Join(errs...); err != nil {
		return nil, 0, err
	}
	recs = make([]*kgo.Record, 0, fs.NumRecords())
	s.mu.Lock()
	defer s.mu.Unlock()
	fs.EachTopic(func(t kgo.FetchTopic) {
		for _, p := range t.Partitions {
			if n := len(p.Records); n > 0 {
				at := TopicPartition{t.Topic, p.Partition}
				errs = append(errs, s.proper(at, t.TopicID, p.Records[0].Offset), s.unbroken(at, p.LogStartOffset))
				recs = append(recs, p.Records...)
				s.noteEpochs(at, p.Records)
				s.position[at] = p.Records[n-1].Offset + 1
				s.waiting[at] = p.LastStableOffset - s.position[at]
			}
		}
	})
	if err := errors.Join(errs...); err != nil {
		return nil, 0, err
	}
	s.holdBack()
	for _, n := range s.waiting {
		waiting += n
	}
	return recs, waiting, nil
}

// holdBack pauses or resumes the source that waits for the others. Between the two bounds nothing
// changes, since what the client has fetched of a source is dropped when it is paused.
func (s *Session) holdBack() {
	if s.cfg.HeldBack == "" {
		return
	}
	var waiting int64
	for at, n := range s.waiting {
		if at.Topic != s.cfg.HeldBack {
			waiting += n
		}
	}
	switch {
	case !s.held && waiting > s.cfg.HoldBackAt:
		s.cl.PauseFetchTopics(s.cfg.HeldBack)
		s.held = true
	case s.held && waiting <= s.cfg.HoldBackAt/2:
		s.cl.ResumeFetchTopics(s.cfg.HeldBack)
		s.held = false
	}
}

// unbroken refuses to read on where records between the position and what has come were deleted:
// franz-go passes over them where it looks the bounds up, as proper says.
func (s *Session) unbroken(p TopicPartition, start int64) error {
	if at := s.position[p]; start > at {
		return &GapError{Topic: p.Topic, Partition: p.Partition, Position: at, Err: kerr.OffsetOutOfRange}
	}
	return nil
}

// proper refuses records that the session did not ask for. franz-go moves an offset that it was
// told to read into the bounds that a broker names, when it looks them up before it knows the
// topic: with a broker's old answer, or a topic that was made again under the name, that means
// other events.
func (s *Session) proper(p TopicPartition, id [16]byte, got int64) error {
	if at := s.position[p]; got < at {
		return fmt.Errorf("read %s/%d: got offset %d after %d was asked for: a broker's answer was old, or the topic was truncated",
			p.Topic, p.Partition, got, at)
	}
	none, want := [16]byte{}, s.cfg.Sources[p.Topic]
	if id != none && want != none && id != want {
		return fmt.Errorf("read %s/%d: the topic was made again under its name", p.Topic, p.Partition)
	}
	return nil
}
