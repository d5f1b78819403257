package seed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

const (
	bufferBytes = 256 << 10
	// pieceBytes are asked for at a time, or what a second may bring if that is less, so that each
	// answer has a deadline.
	pieceBytes = 8 << 20
	// pieceWait is how long an answer may take.
	pieceWait = 30 * time.Second
	// triesMax is how often a file is asked for again without a byte more.
	triesMax = 5
	retry    = 200 * time.Millisecond
)

// Source opens a piece of a file: at most so many bytes from an offset on.
type Source func(ctx context.Context, file string, from, bytes int64) (io.ReadCloser, error)

// Fetching is what Fetch needs.
type Fetching struct {
	Dir    string // where the files go; what is there already is not fetched again
	Offer  Offer
	Source Source
	Pace   *Pace // of all that is received
	Seam   seam.Seam
	Log    *slog.Logger
	// Progress is called as bytes come, with those of all files that are there. It must not block.
	Progress func(bytes int64)
}

// Fetch brings the files of an offer into the directory: files that are not of it are removed, and
// when it returns without an error, all are there, durably, with the sums that the offer says.
// After an error a later Fetch of the same offer goes on from what is there.
func Fetch(ctx context.Context, f Fetching) error {
	if err := f.Offer.check(); err != nil {
		return err
	}
	if err := f.clear(); err != nil {
		return err
	}
	var done int64
	for _, file := range f.Offer.Files {
		err := ctx.Err() // looked at for each file: what is there already may take long to sum up
		if err == nil {
			err = f.file(ctx, file, done)
		}
		if err != nil {
			return fmt.Errorf("fetch %s: %w", file.Name, err)
		}
		done += file.Bytes
	}
	return syncDir(f.Dir)
}

// clear makes the directory, and removes from it what is not of the offer.
func (f *Fetching) clear() error {
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, file := range f.Offer.Files {
		wanted[file.Name] = true
	}
	entries, err := os.ReadDir(f.Dir)
	for _, e := range entries {
		if !wanted[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(f.Dir, e.Name())))
		}
	}
	return err
}

// ErrDisk says that the disk here does not take what comes: to fetch it again would not help.
var ErrDisk = errors.New("a copy cannot be written")

// disk marks what the disk here has said.
func disk(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return nil
}

// SumError says that a file came over otherwise than it was offered.
type SumError struct {
	File      string
	Want, Got uint64
}

func (e *SumError) Error() string {
	return fmt.Sprintf("the file %s was offered with checksum %016x and has come with %016x", e.File, e.Want, e.Got)
}

// file brings one file, as often as it takes: a cut goes on where it was, and a file whose sum is
// wrong is fetched once more from its beginning.
func (f *Fetching) file(ctx context.Context, file File, before int64) error {
	path, wrong := filepath.Join(f.Dir, file.Name), 0
	for tries := 0; ; {
		got, err := f.pieces(ctx, path, file, before)
		if err == nil {
			if err = verify(ctx, path, file); err == nil {
				return nil
			}
			if wrong++; wrong > 1 {
				return err
			}
		}
		if got > 0 {
			tries = 0
		}
		if tries++; tries > triesMax || errors.Is(err, ErrGone) || errors.Is(err, ErrDisk) || ctx.Err() != nil {
			return err
		}
		if f.Log != nil {
			f.Log.Warn("a checkpoint's file is fetched again", "file", file.Name, "error", err)
		}
		if err := f.Seam.Sleep(ctx, f.Seam.Jitter(retry)); err != nil {
			return err
		}
	}
}

// pieces appends to a file what it lacks, and makes it durable. got is how many bytes came.
func (f *Fetching) pieces(ctx context.Context, path string, file File, before int64) (got int64, err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return 0, disk(err)
	}
	defer func() { err = errors.Join(err, disk(out.Close())) }()
	at, err := out.Seek(0, io.SeekEnd)
	if err == nil && at > file.Bytes {
		at, err = 0, errors.Join(out.Truncate(0), rewind(out))
	}
	err = disk(err)
	for err == nil && at < file.Bytes {
		var n int64
		n, err = f.piece(ctx, written{out}, file, at, before)
		at, got = at+n, got+n
	}
	if err != nil {
		return got, err
	}
	return got, disk(out.Sync())
}

// written is a file whose errors are told from those of what is read.
type written struct{ f *os.File }

func (w written) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	return n, disk(err)
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func (f *Fetching) piece(ctx context.Context, out io.Writer, file File, at, before int64) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, pieceWait)
	defer cancel()
	bytes := min(pieceBytes, f.Pace.rate, file.Bytes-at)
	in, err := f.Source(ctx, file.Name, at, bytes)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	n, err = io.CopyBuffer(out, &arriving{ctx, f, io.LimitReader(in, bytes), before + at}, make([]byte, bufferBytes))
	if err == nil && n < bytes {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// arriving is a piece that comes in, at the node's pace.
type arriving struct {
	ctx  context.Context
	f    *Fetching
	r    io.Reader
	have int64
}

func (a *arriving) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	if werr := a.f.Pace.wait(a.ctx, n); werr != nil {
		return 0, werr
	}
	a.have += int64(n)
	if a.f.Progress != nil {
		a.f.Progress(a.have)
	}
	return n, err
}

// verify compares a file that is there as a whole with what was offered, and removes one that
// differs.
func verify(ctx context.Context, path string, file File) error {
	sum, bytes, err := sumFile(ctx, path)
	if err != nil {
		return err
	}
	if sum == file.Sum && bytes == file.Bytes {
		return nil
	}
	return errors.Join(&SumError{file.Name, file.Sum, sum}, os.Remove(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remember keeps an offer beside what is fetched of it, so that another process can go on with it.
func Remember(path string, o Offer) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// Remembered is the id of an offer that was kept, "" for none.
func Remembered(path string) string {
	var o Offer
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &o) != nil {
		return ""
	}
	return o.ID
}
