package history

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Copies keeps copies of the stores of nodes that have died in mid-run, before anything else
// happens to them. Of all that it is offered it keeps a few, spread over the run: the longer that
// is, the fewer it takes, and of those that it has it drops every other one. It may be used from
// many goroutines.
type Copies struct {
	Dir string // of the run

	most int64 // bytes; 0: copyBytesMax

	mu      sync.Mutex
	offered int
	stride  int // each so many is kept; 0: each
	kept    []kept
}

type kept struct {
	path  string
	bytes int64
}

// The bounds of what is kept at a time.
const (
	copiesMax    = 12
	copyBytesMax = 512 << 20
)

// Take copies a dead node's stores, if it keeps this one. Stores that are not there are no error.
func (c *Copies) Take(node string, start int, from string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offered++
	if !c.due() {
		return nil
	}
	most := cmp.Or(c.most, copyBytesMax)
	size, err := sizeOf(from)
	if err != nil || size == 0 || size > most {
		return err
	}
	for len(c.kept) >= copiesMax || c.bytes()+size > most {
		if err := c.thin(); err != nil || !c.due() {
			return err
		}
	}
	path := filepath.Join(c.Dir, OpenedDir, fmt.Sprintf("%s-%d", node, start))
	if err := os.CopyFS(path, os.DirFS(from)); err != nil {
		return errors.Join(fmt.Errorf("copy the stores of %s: %w", node, err), os.RemoveAll(path))
	}
	c.kept = append(c.kept, kept{path, size})
	return nil
}

// due reports whether the one that was offered last is to be kept.
func (c *Copies) due() bool { return (c.offered-1)%max(c.stride, 1) == 0 }

func (c *Copies) bytes() (sum int64) {
	for _, k := range c.kept {
		sum += k.bytes
	}
	return sum
}

// thin drops every other copy, and the last one too where it is the only one.
func (c *Copies) thin() (err error) {
	c.stride = 2 * max(c.stride, 1)
	rest := c.kept[:0]
	for i, k := range c.kept {
		if i%2 == 1 || len(c.kept) == 1 {
			err = errors.Join(err, os.RemoveAll(k.path))
			continue
		}
		rest = append(rest, k)
	}
	c.kept = rest
	return err
}

// sizeOf is what the files below a folder have in bytes; 0 where it is not there.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return size, err
}

// ListCopies gives the nodes and starts of the copies that a run has kept.
func ListCopies(dir string, fn func(path, node string, start int) error) error {
	entries, err := os.ReadDir(filepath.Join(dir, OpenedDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := strings.LastIndexByte(e.Name(), '-')
		start, err := strconv.Atoi(e.Name()[at+1:])
		if at < 0 || err != nil {
			return fmt.Errorf("%s: not the copy of a node's stores", e.Name())
		}
		if err := fn(filepath.Join(dir, OpenedDir, e.Name()), e.Name()[:at], start); err != nil {
			return err
		}
	}
	return nil
}
