package audit

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// A combiner makes one value of two of a key, of which older was put first, and appends it to dst.
type combiner func(dst, key, older, newer []byte) ([]byte, error)

// table holds one value a key. What does not fit into limit bytes goes to files, each sorted by
// key; combine is called once for each two values of a key that were put one after another,
// wherever they lie. While a file is written in the background, the table is filled on.
type table struct {
	dir, name string
	limit     int64 // of the entries in memory
	fanIn     int   // files of one level that are merged into one of the next
	combine   combiner

	cells   *cells
	spare   chan *cells  // that are empty; shared with other tables
	writing chan spilled // of the file under way; nil: none
	levels  [][]string   // files by level, older before newer, higher levels older than lower ones
	files   int          // made so far, for their names
	scratch []byte
}

// spilled is a file that was written.
type spilled struct {
	name string
	err  error
}

// sparesMax are as many cells as are ever in use beside each other: one is filled, one is written.
const sparesMax = 2

func (t *table) put(key, value []byte) error {
	if t.cells == nil {
		select {
		case t.cells = <-t.spare:
		default:
			t.cells = &cells{}
		}
	}
	i, older, found := t.cells.find(key)
	if !found {
		t.cells.add(i, key, value)
	} else {
		var err error
		if t.scratch, err = t.combine(t.scratch[:0], key, older, value); err != nil {
			return err
		}
		t.cells.replace(i, key, t.scratch)
	}
	if t.cells.bytes() > t.limit {
		return t.spill()
	}
	return nil
}

// spill has the entries in memory written to a file in the background.
func (t *table) spill() error {
	if t.cells == nil || t.cells.used == 0 {
		return nil
	}
	full := t.cells
	t.cells = nil
	if err := t.written(); err != nil {
		return err
	}
	t.files++
	name, done := t.file(), make(chan spilled, 1)
	t.writing = done
	go func() {
		err := write(name, func(w *bufio.Writer) error { return full.sorted(w) })
		full.clear()
		select {
		case t.spare <- full:
		default:
		}
		done <- spilled{name, err}
	}()
	return nil
}

// written waits for the file under way.
func (t *table) written() error {
	if t.writing == nil {
		return nil
	}
	s := <-t.writing
	t.writing = nil
	if s.err != nil {
		return s.err
	}
	return t.keep(s.name, 0)
}

// keep adds a file to a level, and merges the level when it is full.
func (t *table) keep(name string, level int) error {
	for len(t.levels) <= level {
		t.levels = append(t.levels, nil)
	}
	t.levels[level] = append(t.levels[level], name)
	if len(t.levels[level]) < t.fanIn {
		return nil
	}
	merged, err := t.mergeLevel(level)
	if err != nil {
		return err
	}
	for _, f := range t.levels[level] {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	t.levels[level] = nil
	return t.keep(merged, level+1)
}

func (t *table) mergeLevel(level int) (string, error) {
	s, err := t.open(t.levels[level])
	if err != nil {
		return "", err
	}
	defer s.close()
	t.files++
	name := t.file()
	return name, write(name, func(w *bufio.Writer) error {
		for s.ok {
			if err := writeEntry(w, s.key, s.value); err != nil {
				return err
			}
			if err := s.next(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *table) file() string { return filepath.Join(t.dir, fmt.Sprintf("%s-%d", t.name, t.files)) }

// write makes a file of what fill writes.
func write(name string, fill func(*bufio.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("a file for the audit's sorted runs: %w", err)
	}
	w := bufio.NewWriterSize(f, 256<<10)
	if err := errors.Join(fill(w), w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("write the audit's sorted runs: %w", err)
	}
	return nil
}

// filled ends the filling, and lets go of the memory: what is left goes to a file in the
// background.
func (t *table) filled() error { return t.spill() }

// sorted ends the filling and gives all entries in the order of their keys.
func (t *table) sorted() (*stream, error) {
	if err := errors.Join(t.filled(), t.written()); err != nil {
		return nil, err
	}
	var files []string
	for _, level := range slices.Backward(t.levels) {
		files = append(files, level...)
	}
	return t.open(files)
}

func (t *table) open(files []string) (*stream, error) {
	s := &stream{combine: t.combine}
	for age, name := range files {
		f, err := os.Open(name)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("read the audit's sorted runs: %w", err)
		}
		c := &cursor{age: age, file: f, r: bufio.NewReaderSize(f, 64<<10)}
		s.all = append(s.all, c)
		ok, err := c.next()
		if err != nil {
			s.close()
			return nil, err
		}
		if ok {
			s.heap = append(s.heap, c)
		}
	}
	heap.Init(&s.heap)
	if err := s.next(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// stream gives entries in the order of their keys, each key once.
type stream struct {
	key, value []byte // the present entry; valid until next
	ok         bool   // false at the end

	combine combiner
	all     []*cursor
	heap    cursorHeap
	scratch []byte
}

func (s *stream) next() error {
	if s.ok = len(s.heap) > 0; !s.ok {
		return nil
	}
	s.key = append(s.key[:0], s.heap[0].key...)
	s.value = append(s.value[:0], s.heap[0].value...)
	if err := s.advance(); err != nil {
		return err
	}
	for len(s.heap) > 0 && bytes.Equal(s.heap[0].key, s.key) {
		var err error
		if s.scratch, err = s.combine(s.scratch[:0], s.key, s.value, s.heap[0].value); err != nil {
			return err
		}
		s.value, s.scratch = s.scratch, s.value
		if err := s.advance(); err != nil {
			return err
		}
	}
	return nil
}

// advance moves the first cursor on.
func (s *stream) advance() error {
	ok, err := s.heap[0].next()
	switch {
	case err != nil:
		return err
	case ok:
		heap.Fix(&s.heap, 0)
	default:
		heap.Pop(&s.heap)
	}
	return nil
}

func (s *stream) close() {
	for _, c := range s.all {
		_ = c.file.Close()
	}
}

// cursor reads one file.
type cursor struct {
	age        int // older files first, where keys are equal
	key, value []byte
	file       *os.File
	r          *bufio.Reader
}

func (c *cursor) next() (ok bool, err error) {
	if c.key, err = readBytes(c.r, c.key); err == io.EOF {
		return false, nil
	}
	if err == nil {
		c.value, err = readBytes(c.r, c.value)
	}
	if err != nil {
		return false, fmt.Errorf("read the audit's sorted runs: %s: %w", c.file.Name(), err)
	}
	return true, nil
}

type cursorHeap []*cursor

func (h cursorHeap) Len() int { return len(h) }
func (h cursorHeap) Less(i, j int) bool {
	if c := bytes.Compare(h[i].key, h[j].key); c != 0 {
		return c < 0
	}
	return h[i].age < h[j].age
}
func (h cursorHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursorHeap) Push(x any)   { *h = append(*h, x.(*cursor)) }
func (h *cursorHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func writeEntry(w *bufio.Writer, key, value []byte) error {
	var n [binary.MaxVarintLen64]byte
	for _, b := range [][]byte{key, value} {
		if _, err := w.Write(n[:binary.PutUvarint(n[:], uint64(len(b)))]); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

const readStep = 64 << 10

// readBytes reads a length and as many bytes into b, which it may replace.
func readBytes(r *bufio.Reader, b []byte) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return b, err
	}
	b = b[:0]
	for left := n; left > 0; { // step by step: no memory for a length that the file does not hold
		step := int(min(left, readStep))
		b = slices.Grow(b, step)[:len(b)+step]
		if _, err := io.ReadFull(r, b[len(b)-step:]); err != nil {
			return b, fmt.Errorf("cut off: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
		left -= uint64(step)
	}
	return b, nil
}
