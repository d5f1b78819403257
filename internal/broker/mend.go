package broker

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What kfake does itself after an unclean end is not enough, so this file mends the data before
// kfake reads it.
//
// It ends the transactions that were open, in memory only: no abort marker is written. A reader is
// told of the aborted transaction and waits for its marker, so it drops what the same producer
// commits afterwards; and after another kill the aborted records lie before that commit's marker
// and count as committed. Here each gets its marker, and its producer a new epoch.
//
// A kill between the writes of a batch and of its index entry gives every later batch the entry of
// the one before it. Here the index is made anew.
//
// It reads a partition that has no snapshot of its present files with all of its batches in memory
// at once. Here each gets a snapshot, the same as that of an orderly end.
//
// Whatever stops it half-way, it can be done again from the start.

// mend is for a data dir that no broker uses, after an unclean end.
func (d dir) mend(now time.Time, log *slog.Logger) error {
	// Of the last orderly end, and so of another state than the rest. Idempotent producers' stale
	// sequences would even make kfake drop new records as sent already.
	for _, name := range []string{"seq_windows.json", "session_state.json"} {
		if err := os.Remove(filepath.Join(d.data(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range []string{d.pidsLog(), filepath.Join(d.data(), "groups.log")} {
		if err := mendLog(name); err != nil {
			return err
		}
	}
	var all []*mended
	open := map[int64]int16{}
	err := d.eachPartition(func(path string) error {
		p := &mended{path: path, open: map[int64]openTxn{}}
		if err := p.read(log); err != nil {
			return err
		}
		all = append(all, p)
		for pid, txn := range p.open {
			open[pid] = max(open[pid], txn.epoch)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Before the markers: who does this again finds nothing open behind them.
	if err := d.fence(open); err != nil {
		return fmt.Errorf("fence what was open: %w", err)
	}
	for _, p := range all {
		if err := p.finish(now, log); err != nil {
			return fmt.Errorf("partition %s: %w", filepath.Base(p.path), err)
		}
	}
	return nil
}

// mended is a partition that is being mended.
type mended struct {
	path         string
	segments     []segmentState // the last one is what kfake appends to
	first, next  int64          // offsets: of the first batch, and behind the last
	leaderEpoch  int32          // of the last batch
	maxTimestamp int64
	open         map[int64]openTxn // by producer id
	aborted      []abortedTxn      // by last offset
}

// openTxn is a transaction in one partition without a marker behind it.
type openTxn struct {
	first int64 // offset
	epoch int16
}

// read checks the segments, cuts off what is not whole, and writes the indexes.
func (p *mended) read(log *slog.Logger) error {
	bases, err := segments(p.path)
	if err != nil {
		return err
	}
	for _, base := range bases {
		size, err := p.readSegment(base)
		if err != nil {
			return err
		}
		dat := datFile(p.path, base)
		info, err := os.Stat(dat)
		if err != nil {
			return err
		}
		if size < info.Size() {
			log.Warn("records that were not written wholly are dropped", "file", dat, "bytes", info.Size()-size)
			if err := os.Truncate(dat, size); err != nil {
				return err
			}
		}
		if size == 0 { // kfake has just begun it
			if err := errors.Join(os.Remove(dat), os.Remove(idxFile(p.path, base))); err != nil {
				return err
			}
			continue
		}
		p.segments = append(p.segments, segmentState{base, size})
	}
	return nil
}

// readSegment writes the index of a segment and returns the size of its whole batches.
func (p *mended) readSegment(base int64) (size int64, err error) {
	name := idxFile(p.path, base)
	f, err := os.Create(name + ".tmp") // kfake removes what is left of such
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriter(f)
	size, err = eachBatch(datFile(p.path, base), func(h header, raw []byte) error {
		p.see(h, raw)
		_, err := w.Write(p.indexEntry(h))
		return err
	})
	if err := errors.Join(err, w.Flush(), f.Close()); err != nil {
		return 0, err
	}
	return size, os.Rename(name+".tmp", name)
}

// see follows the transactions through the log, as kfake does.
func (p *mended) see(h header, raw []byte) {
	if len(p.segments) == 0 && p.next == 0 {
		p.first, p.maxTimestamp = h.first, h.maxTimestamp
	}
	p.next, p.leaderEpoch, p.maxTimestamp = h.last+1, h.leaderEpoch, max(p.maxTimestamp, h.maxTimestamp)
	if !h.transactional {
		return
	}
	txn, open := p.open[h.producer]
	switch {
	case !h.control && !open:
		p.open[h.producer] = openTxn{h.first, h.producerEpoch}
	case h.control:
		if open && !isCommit(raw) {
			p.aborted = append(p.aborted, abortedTxn{h.producer, txn.first, h.last})
		}
		delete(p.open, h.producer)
	}
}

// indexEntry is kfake's for a batch: version, checksum, leader epoch, largest timestamp up to here,
// and whether the batch is a transaction's data.
func (p *mended) indexEntry(h header) []byte {
	b := []byte{frameVersion, 0}
	b = binary.LittleEndian.AppendUint32(b, uint32(h.leaderEpoch))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.maxTimestamp))
	flags := byte(0)
	if h.transactional && !h.control {
		flags = 1
	}
	b = append(b, flags)
	b[1] = byte(crc32.Checksum(b[2:], castagnoli))
	return b
}

// finish aborts what is open, and writes the snapshot.
func (p *mended) finish(now time.Time, log *slog.Logger) error {
	if len(p.segments) == 0 {
		return nil
	}
	for _, pid := range slices.Sorted(maps.Keys(p.open)) {
		txn := p.open[pid]
		log.Info("a transaction that was open is aborted", "partition", filepath.Base(p.path), "producer_id", pid, "offset", txn.first)
		if err := p.abort(pid, raised(txn.epoch), now); err != nil {
			return err
		}
	}
	return p.writeSnapshot(now)
}

// abort appends a marker.
func (p *mended) abort(pid int64, epoch int16, now time.Time) error {
	raw := abortMarker(p.next, p.leaderEpoch, pid, epoch, now.UnixMilli())
	last := &p.segments[len(p.segments)-1]
	if err := appendTo(datFile(p.path, last.Base), raw); err != nil {
		return err
	}
	last.Size += int64(len(raw))
	h := parseHeader(raw)
	p.see(h, raw)
	return appendTo(idxFile(p.path, last.Base), p.indexEntry(h))
}

func appendTo(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// abortMarker is a control batch like those of kfake.
func abortMarker(offset int64, leaderEpoch int32, pid int64, epoch int16, ms int64) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	value := kmsg.EndTxnMarker{}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: value.AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // without the length's own one byte
	batch := kmsg.RecordBatch{
		FirstOffset: offset, PartitionLeaderEpoch: leaderEpoch, Magic: 2, Attributes: 0x30, // control, transactional
		FirstTimestamp: ms, MaxTimestamp: ms, ProducerID: pid, ProducerEpoch: epoch, FirstSequence: -1,
		NumRecords: 1, Records: rec.AppendTo(nil),
	}
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-lengthAt))
	binary.BigEndian.PutUint32(raw[checkedAt-4:], crc32.Checksum(raw[checkedAt:], castagnoli))
	return raw
}

// snapshot is kfake's summary of a partition, which it trusts when the segments have these sizes.
type snapshot struct {
	Version          int            `json:"version"`
	HighWatermark    int64          `json:"high_watermark"`
	LastStableOffset int64          `json:"last_stable_offset"`
	LogStartOffset   int64          `json:"log_start_offset"`
	Epoch            int32          `json:"epoch"`
	MaxTimestamp     int64          `json:"max_timestamp"`
	CreatedAt        time.Time      `json:"created_at"`
	Aborted          []abortedTxn   `json:"aborted_txns,omitempty"`
	Segments         []segmentState `json:"segments"`
}

type segmentState struct {
	Base int64 `json:"base_offset"`
	Size int64 `json:"size"` // bytes
}

type abortedTxn struct {
	ProducerID  int64 `json:"producer_id"`
	FirstOffset int64 `json:"first_offset"`
	LastOffset  int64 `json:"last_offset"` // of the marker
}

// writeSnapshot takes the log's start from the last snapshot, where that is still in the log: what
// a DeleteRecords before it deleted stays deleted.
func (p *mended) writeSnapshot(now time.Time) error {
	name := filepath.Join(p.path, "snapshot.json")
	var was snapshot
	if text, err := os.ReadFile(name); err == nil {
		_ = json.Unmarshal(text, &was) // an unreadable one says nothing
	}
	text, err := json.Marshal(snapshot{
		Version: frameVersion, HighWatermark: p.next, LastStableOffset: p.next,
		LogStartOffset: max(p.first, min(was.LogStartOffset, p.next-1)), Epoch: p.leaderEpoch,
		MaxTimestamp: p.maxTimestamp, CreatedAt: now, Aborted: p.aborted, Segments: p.segments,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".tmp", text, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
