package seed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Offer lists what a checkpoint consists of.
type Offer struct {
	ID    string `json:"id"`
	Files []File `json:"files"`
}

// File is one file of a checkpoint.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	Sum   uint64 `json:"sum,string"` // xxhash
}

// Bytes is the size of all files.
func (o Offer) Bytes() (bytes int64) {
	for _, f := range o.Files {
		bytes += f.Bytes
	}
	return bytes
}

// filesMax bounds the files of an offer: a store of Pebble's tables has some hundreds.
const filesMax = 100_000

// check refuses what no keeper offers.
func (o Offer) check() error {
	if o.ID == "" || len(o.Files) == 0 || len(o.Files) > filesMax {
		return fmt.Errorf("an offer %q of %d files is none", o.ID, len(o.Files))
	}
	seen := map[string]bool{}
	for _, f := range o.Files {
		if !plainName(f.Name) || f.Bytes < 0 || seen[f.Name] {
			return fmt.Errorf("an offer with the file %q of %d bytes is none", f.Name, f.Bytes)
		}
		seen[f.Name] = true
	}
	return nil
}

// plainName reports whether a name is one of a file right in a directory.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) < 256 && !strings.ContainsAny(name, `/\:`+"\x00")
}

// list makes the offer of a directory's files, in the order of their names. It reads them all.
func list(ctx context.Context, id, dir string) (Offer, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Offer{}, fmt.Errorf("list a checkpoint: %w", err)
	}
	o := Offer{ID: id}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		f := File{Name: e.Name()}
		if f.Sum, f.Bytes, err = sumFile(ctx, filepath.Join(dir, f.Name)); err != nil {
			return Offer{}, fmt.Errorf("list a checkpoint: %w", err)
		}
		o.Files = append(o.Files, f)
	}
	slices.SortFunc(o.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return o, o.check()
}

// lockName is the file that Pebble makes by itself in each directory that it opens.
const lockName = "LOCK"

func sumFile(ctx context.Context, path string) (sum uint64, bytes int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	h := xxhash.New()
	bytes, err = io.CopyBuffer(h, untilDone{ctx, f}, make([]byte, bufferBytes))
	return h.Sum64(), bytes, errors.Join(err, f.Close())
}

// untilDone reads until its context ends: a store may have more to read than a lane can wait for.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}
