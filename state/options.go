package state

import (
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
)

// BlockCache holds blocks of tables. The lanes of a node share one, so that its size bounds the
// node and not the lane. Each NewBlockCache is paired with an Unref once no store uses it.
type BlockCache = pebble.Cache

// NewBlockCache makes a block cache of so many bytes.
func NewBlockCache(bytes int64) *BlockCache { return pebble.NewCache(bytes) }

// FS is the file system of a store.
type FS = vfs.FS

// Options of a Store. Seam is required; the zero of every other field is its default.
type Options struct {
	Seam seam.Seam
	Step step.Hook
	FS   FS           // the disk by default
	Log  *slog.Logger // silent by default

	// CacheBytes bounds the write-back cache and the filter of groups, all their overhead included
	// (default 64 MB). One transaction may exceed it for as long as its Publish takes.
	CacheBytes int64
	// BlockCache is the shared block cache; without one the store makes its own of BlockCacheBytes
	// (default 16 MB).
	BlockCache      *BlockCache
	BlockCacheBytes int64
	// MemTableBytes is the size of one of Pebble's memtables (default 16 MB).
	MemTableBytes int64

	// Published values are applied to Pebble after so many transactions (default 100) or once they
	// take so many bytes of the cache (default a quarter of it, at most half of it).
	ApplyTxns  int
	ApplyBytes int64
	// Applied values are flushed once they are so many bytes (default two memtables), while as many
	// again and what one apply has may wait behind that flush. Nothing stays published for longer
	// than FlushInterval without a flush being started (default 5 s; a Load has its own, after
	// which this one begins anew). They bound what a restart after a crash reads again.
	FlushBytes    int64
	FlushInterval time.Duration

	// Compare orders encoded values by size, for Largest; it is set only where a group's values
	// never fall. RankMax is how many of the largest are kept (default 1000).
	Compare func(a, b []byte) int
	RankMax int

	// OpenFiles bounds the files that the store keeps open (default 500; Pebble takes 64 for less).
	OpenFiles int
	// Compactions bounds Pebble's concurrent compactions of this store (default 2), and Places
	// those of all stores that share it (nil: no bound).
	Compactions int
	Places      *Places
}

// What is the same for every store.
const (
	// pebbleFormat is pinned: a newer one is taken by a deliberate change, since older builds of
	// tally cannot open the store after it.
	pebbleFormat = pebble.FormatTableFormatV6
	// blockBytes is what reading one key costs to read, to hold and to free: of keys in no order a
	// block rarely serves two.
	blockBytes = 4 << 10
	bloomBits  = 10
	// l0Compact is the number of overlapping tables in L0 that starts a compaction. Twice Pebble's
	// default: a Load takes a sixth less CPU, and filters keep reads as they are.
	l0Compact = 8
	// l0ReadsMax is the number of overlapping tables in L0 at which a store's writes wait, and a
	// Load waits for a compaction well before that. Pebble's default of 12 would stop a Load at
	// once: each of its chunks overlaps all others.
	l0ReadsMax     = 96
	l0ReadsLoadMax = 64
	// l0RestMax is the number up to which a Load puts compactions off, and loadRest for how long
	// behind each chunk: what restores a lane needs the time, and reads find their way by filters.
	l0RestMax = 48
	loadRest  = 2 * time.Second
	// openRest is for how long behind its opening a store compacts nothing: a start has better use
	// for the processor.
	openRest = time.Second
)

func (o Options) withDefaults() (Options, error) {
	if o.Seam.Now == nil {
		panic("state: Options.Seam is required")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.CacheBytes, 64<<20)
	setDefault(&o.BlockCacheBytes, 16<<20)
	setDefault(&o.MemTableBytes, 16<<20)
	setDefault(&o.ApplyTxns, 100)
	setDefault(&o.ApplyBytes, o.CacheBytes/4)
	setDefault(&o.FlushBytes, 2*o.MemTableBytes)
	setDefault(&o.FlushInterval, 5*time.Second)
	setDefault(&o.OpenFiles, 500)
	setDefault(&o.Compactions, 2)
	setDefault(&o.RankMax, 1000)
	return o, o.check()
}

// setDefault fills an option that was not said.
func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (o Options) check() error {
	for _, f := range []struct {
		name       string
		v, lo, hi  int64
		constraint string
	}{
		{"CacheBytes", o.CacheBytes, CacheBytesMin, CacheBytesMax, "from 16 KB to 4 GB"},
		{"BlockCacheBytes", o.BlockCacheBytes, 1, 1 << 40, "positive"},
		{"MemTableBytes", o.MemTableBytes, 64 << 10, 1 << 30, "from 64 KB to 1 GB"},
		{"ApplyTxns", int64(o.ApplyTxns), 1, 1 << 30, "positive"},
		{"ApplyBytes", o.ApplyBytes, 1, o.CacheBytes / 2, "positive and at most half of CacheBytes"},
		{"FlushBytes", o.FlushBytes, 1, 1 << 40, "positive"},
		{"FlushInterval", int64(o.FlushInterval), 1, 1 << 62, "positive"},
		{"OpenFiles", int64(o.OpenFiles), 1, 1 << 30, "positive"},
		{"Compactions", int64(o.Compactions), 1, 1024, "positive"},
	} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("state option %s is %d and must be %s", f.name, f.v, f.constraint)
		}
	}
	return nil
}

// pebbleOptions are Pebble's, with its logger and its events bound to w.
func (o Options) pebbleOptions(w *watcher, block *BlockCache, c *compactions) *pebble.Options {
	p := &pebble.Options{
		FS:                 brake{o.FS, w},
		Cache:              block,
		DisableWAL:         true, // the changelog is the log
		FormatMajorVersion: pebbleFormat,
		Logger:             w,
		EventListener:      w.listener(),
		MaxOpenFiles:       o.OpenFiles,

		MemTableSize:          uint64(o.MemTableBytes),
		L0CompactionThreshold: l0Compact,
		// Who waits at one of these hears of no failure: apply waits for a flush, and commit for
		// compactions.
		MemTableStopWritesThreshold: math.MaxInt32,
		L0StopWritesThreshold:       math.MaxInt32,
		CompactionConcurrencyRange:  func() (int, int) { return 1, o.Compactions },
	}
	p.Experimental.CompactionScheduler = c
	// A flushable ingest would return before its table is durable.
	p.Experimental.DisableIngestAsFlushable = func() bool { return true }
	// Keys share their prefixes within a block as it is, and values are a few bytes. Compressed
	// they take 40% less of the disk, and a third more of the processor to read.
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	tableOptions(p)
	p.EnsureDefaults()
	return p
}
