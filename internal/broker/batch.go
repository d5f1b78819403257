package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfake keeps a partition in segments: a .dat file of record batches as they are on the wire, named
// by the offset of its first, and an .idx file with an entry a batch. This file reads them.

const (
	headerBytes   = 61 // of a record batch
	lengthAt      = 12 // bytes before what a batch's length counts
	checkedAt     = 21 // where the checksum's range begins
	controlBytes  = 64 // more than the one record of a control batch takes
	batchBytesMax = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what the first headerBytes of a batch say.
type header struct {
	first, last   int64 // offsets
	bytes         int64 // of the whole batch
	leaderEpoch   int32
	maxTimestamp  int64
	producer      int64
	producerEpoch int16
	transactional bool
	control       bool
}

func parseHeader(b []byte) header {
	first := int64(binary.BigEndian.Uint64(b))
	attributes := binary.BigEndian.Uint16(b[21:])
	return header{
		first:         first,
		last:          first + int64(int32(binary.BigEndian.Uint32(b[23:]))),
		bytes:         lengthAt + int64(binary.BigEndian.Uint32(b[8:])),
		leaderEpoch:   int32(binary.BigEndian.Uint32(b[12:])),
		maxTimestamp:  int64(binary.BigEndian.Uint64(b[35:])),
		producer:      int64(binary.BigEndian.Uint64(b[43:])),
		producerEpoch: int16(binary.BigEndian.Uint16(b[51:])),
		transactional: attributes&0x10 != 0,
		control:       attributes&0x20 != 0,
	}
}

// isCommit says whether a control batch, or its beginning, is a commit marker. What cannot be read
// is none, as in kfake.
func isCommit(b []byte) bool {
	var rec kmsg.Record
	end := min(int64(len(b)), parseHeader(b).bytes)
	return rec.ReadFrom(b[headerBytes:end]) == nil && len(rec.Key) >= 4 && binary.BigEndian.Uint16(rec.Key[2:]) == 1
}

// eachHeader reads the beginning of each of a segment's batches, enough for a control batch as a
// whole, until fn returns false. It checks nothing, and may run while kfake appends.
func eachHeader(name string, fn func(h header, b []byte) bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, headerBytes+controlBytes)
	for pos := int64(0); ; {
		n, err := f.ReadAt(buf, pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n < headerBytes {
			return nil // the end, or a batch that was cut off, which kfake drops
		}
		h := parseHeader(buf)
		if h.bytes < headerBytes || !fn(h, buf[:n]) {
			return nil
		}
		pos += h.bytes
	}
}

// eachBatch reads a segment's batches up to the first that is cut short or damaged, as kfake does,
// and returns where they end. fn may not keep raw.
func eachBatch(name string, fn func(h header, raw []byte) error) (end int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	r := bufio.NewReaderSize(f, 1<<20)
	var raw []byte
	for {
		head, err := r.Peek(lengthAt)
		if err != nil && !errors.Is(err, io.EOF) {
			return end, err
		}
		if len(head) < lengthAt {
			return end, nil
		}
		size := lengthAt + int64(binary.BigEndian.Uint32(head[8:]))
		if size < headerBytes || size > batchBytesMax || size > info.Size()-end {
			return end, nil
		}
		raw = slices.Grow(raw[:0], int(size))[:size]
		if _, err := io.ReadFull(r, raw); err != nil {
			return end, err
		}
		if crc32.Checksum(raw[checkedAt:], castagnoli) != binary.BigEndian.Uint32(raw[checkedAt-4:]) {
			return end, nil
		}
		if err := fn(parseHeader(raw), raw); err != nil {
			return end, err
		}
		end += size
	}
}

// partitionDir is where kfake keeps a partition.
func (d dir) partitionDir(topic string, p int32) string {
	return filepath.Join(d.partitions(), fmt.Sprintf("%s-%d", url.PathEscape(topic), p))
}

func (d dir) partitions() string { return filepath.Join(d.data(), "partitions") }

// eachPartition calls fn with the directory of each partition that has data.
func (d dir) eachPartition(fn func(path string) error) error {
	entries, err := os.ReadDir(d.partitions())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := fn(filepath.Join(d.partitions(), e.Name())); err != nil {
			return fmt.Errorf("partition %s: %w", e.Name(), err)
		}
	}
	return nil
}

// segments are the first offsets of a partition's segments, ascending.
func segments(partition string) (bases []int64, err error) {
	entries, err := os.ReadDir(partition)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), ".dat")
		if base, err := strconv.ParseInt(name, 10, 64); is && err == nil {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	return bases, nil
}

func datFile(partition string, base int64) string {
	return filepath.Join(partition, fmt.Sprintf("%d.dat", base))
}

func idxFile(partition string, base int64) string {
	return filepath.Join(partition, fmt.Sprintf("%d.idx", base))
}
