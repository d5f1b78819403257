package check

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A spool is a log in a file: one record after another, each behind its length. It is complete up
// to its last whole record.
const spoolRecordMax = 64 << 20

func spoolPath(dir string, p Place) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%d.log", url.PathEscape(p.Topic), p.Partition))
}

// placeOf is the place of a spool by its file's name.
func placeOf(name string) (p Place, ok bool) {
	name, isSpool := strings.CutSuffix(name, ".log")
	at := strings.LastIndexByte(name, '-')
	if !isSpool || at < 0 {
		return p, false
	}
	topic, err := url.PathUnescape(name[:at])
	n, err2 := strconv.ParseInt(name[at+1:], 10, 32)
	return Place{topic, int32(n)}, err == nil && err2 == nil
}

func encodeRecord(dst []byte, r *Record) []byte {
	var flags byte
	if r.Txn {
		flags = 1
	}
	if r.Value == nil { // a tombstone is not an empty value
		flags |= 2
	}
	if r.Key == nil {
		flags |= 4
	}
	dst = append(dst, flags, byte(r.Control))
	for _, n := range []int64{r.Offset, r.Producer, int64(r.Epoch), r.TimeMs, r.SeenMs} {
		dst = binary.AppendVarint(dst, n)
	}
	dst = appendBytes(appendBytes(dst, r.Key), r.Value)
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = appendBytes(appendBytes(dst, []byte(h.Key)), []byte(h.Value))
	}
	return dst
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// fields takes a record apart; the first error stays.
type fields struct {
	b   []byte
	err error
}

func (f *fields) number() int64 {
	n, size := binary.Varint(f.b)
	if size <= 0 {
		f.err, f.b = errFormat, nil
		return 0
	}
	f.b = f.b[size:]
	return n
}

func (f *fields) bytes() []byte {
	n, size := binary.Uvarint(f.b)
	if size <= 0 || n > uint64(len(f.b)-size) {
		f.err, f.b = errFormat, nil
		return nil
	}
	b := f.b[size : size+int(n)]
	f.b = f.b[size+int(n):]
	return b
}

func decodeRecord(b []byte) (r Record, err error) {
	if len(b) < 2 {
		return r, errFormat
	}
	flags := b[0]
	f := &fields{b: b[2:]}
	r.Txn, r.Control = flags&1 != 0, Control(b[1])
	r.Offset, r.Producer, r.Epoch = f.number(), f.number(), int16(f.number())
	r.TimeMs, r.SeenMs = f.number(), f.number()
	r.Key, r.Value = f.bytes(), f.bytes()
	if flags&2 != 0 {
		r.Value = nil
	}
	if flags&4 != 0 {
		r.Key = nil
	}
	n, size := binary.Uvarint(f.b)
	if f.err != nil || size <= 0 || n > uint64(len(f.b)) {
		return r, errFormat
	}
	f.b = f.b[size:]
	for range n {
		r.Headers = append(r.Headers, Header{string(f.bytes()), string(f.bytes())})
	}
	return r, f.err
}

// spoolWriter writes a spool.
type spoolWriter struct {
	f    *os.File
	out  *bufio.Writer
	next int64 // the offset behind the last record
	buf  []byte
}

func createSpool(dir string, p Place) (*spoolWriter, error) {
	f, err := os.Create(spoolPath(dir, p))
	if err != nil {
		return nil, err
	}
	return &spoolWriter{f: f, out: bufio.NewWriterSize(f, 64<<10)}, nil
}

// write takes a record unless it has it.
func (w *spoolWriter) write(r *Record) error {
	if r.Offset < w.next {
		return nil
	}
	w.next = r.Offset + 1
	w.buf = encodeRecord(w.buf[:0], r)
	if _, err := w.out.Write(binary.AppendUvarint(nil, uint64(len(w.buf)))); err != nil {
		return err
	}
	_, err := w.out.Write(w.buf)
	return err
}

func (w *spoolWriter) close() error { return errors.Join(w.out.Flush(), w.f.Close()) }

// spoolReader reads one.
type spoolReader struct {
	f    *os.File
	in   *bufio.Reader
	path string
}

func openSpool(dir string, p Place) (Reader, error) {
	f, err := os.Open(spoolPath(dir, p))
	if err != nil {
		return nil, err
	}
	return &spoolReader{f: f, in: bufio.NewReaderSize(f, 256<<10), path: f.Name()}, nil
}

func (s *spoolReader) Next() (Record, error) {
	n, err := binary.ReadUvarint(s.in)
	if err != nil {
		return Record{}, io.EOF // a length that was cut off too
	}
	if n > spoolRecordMax {
		return Record{}, fmt.Errorf("%s: a record of %d bytes: %w", s.path, n, errFormat)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return Record{}, io.EOF
	}
	r, err := decodeRecord(b)
	if err != nil {
		return r, fmt.Errorf("%s: %w", s.path, err)
	}
	return r, nil
}

func (s *spoolReader) Close() error { return s.f.Close() }
