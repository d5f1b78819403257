// Package livefile keeps a value that was read from files, and reads it anew when they change.
//
// Invariants:
//
//   - A value is used only after it was read whole and found good: while the files are broken, what
//     was read last stays, and the log says why.
//   - A change is noticed at the first use that is Every later; a file that nobody asks for is
//     not looked at, so that there is no goroutine to end.
//
// It imports internal/seam and the standard library.
package livefile

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Options say how to look. Zero means the default.
type Options struct {
	Seam  seam.Seam // required
	Log   *slog.Logger
	Every time.Duration // between two looks at the files (1 s)
}

// Value is what some files hold. It may be used from many goroutines.
type Value[T any] struct {
	opt   Options
	read  func() (T, error)
	files []string

	mu      sync.Mutex
	now     T
	looked  time.Time
	looking bool          // one goroutine is at the files; the others go on with what there is
	seen    []os.FileInfo // of each file before it was last read well; nil: it was not there
	failed  string        // why it could not be used at the last look, "" when it could
}

// Open reads the value, which must be good. A read takes all of the files.
func Open[T any](opt Options, read func() (T, error), files ...string) (*Value[T], error) {
	if opt.Seam.Now == nil {
		panic("livefile: Options.Seam is not set")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Every == 0 {
		opt.Every = time.Second
	}
	v := &Value[T]{opt: opt, read: read, files: files, looked: opt.Seam.Now(), seen: look(files)}
	var err error
	v.now, err = read()
	return v, err
}

// Get is the newest good value.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.looking || v.opt.Seam.Since(v.looked) < v.opt.Every {
		return v.now
	}
	v.looked, v.looking = v.opt.Seam.Now(), true
	before, failed := v.seen, v.failed
	v.mu.Unlock()
	// Looked at before it is read: what is written meanwhile is a change at the next look.
	seen := look(v.files)
	var value T
	var err error
	changed := !slices.EqualFunc(seen, before, same)
	if changed {
		value, err = v.readChanged(failed)
	}
	v.mu.Lock()
	v.looking, v.failed = false, ""
	switch {
	case err != nil: // read again at the next look: a mended right or clock changes nothing that is seen
		v.failed = err.Error()
	case changed:
		v.now, v.seen = value, seen
	}
	return v.now
}

// readChanged reads files that have changed. failed is why they could not be used before: it is
// said once.
func (v *Value[T]) readChanged(failed string) (T, error) {
	value, err := v.read()
	switch {
	case err == nil:
		v.opt.Log.Info("read anew", "files", strings.Join(v.files, ", "))
	case err.Error() != failed:
		v.opt.Log.Warn("changed files cannot be used; going on with what they held before", "error", err)
	}
	return value, err
}

func look(files []string) []os.FileInfo {
	var seen []os.FileInfo
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			info = nil
		}
		seen = append(seen, info)
	}
	return seen
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}
