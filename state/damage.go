package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tally-kafka/tally/internal/seam"
)

var (
	// ErrLocked: another process, or another Store of this one, has the directory open.
	ErrLocked = errors.New("state directory is in use")
	// ErrDamaged: the store's files are not what was written. Set it aside (SetAside) and open an
	// empty one: the changelog has everything.
	ErrDamaged = errors.New("state is damaged")
	// ErrClosed: the store, or the cut, was closed.
	ErrClosed = errors.New("state is closed")
)

// damaged marks err as damage of the store in dir. What a newer tally wrote is none: it is left as
// it is, for that tally.
func damaged(dir string, err error) error {
	if errors.Is(err, ErrNewer) {
		return fmt.Errorf("state in %s: %w", dir, err)
	}
	return &damageError{dir, err}
}

// damageError is ErrDamaged of one store.
type damageError struct {
	dir string
	err error
}

func (e *damageError) Error() string {
	// Pebble says what it has found in lines of its own.
	what := strings.ReplaceAll(e.err.Error(), "\n<corruption detail carrier>", "")
	return fmt.Sprintf("%v: %s: %s (removing the directory is always safe: the state is built again from the changelog)",
		ErrDamaged, e.dir, strings.ReplaceAll(what, "\n", "; "))
}

func (e *damageError) Unwrap() []error { return []error{ErrDamaged, e.err} }

// classify turns an error of Pebble into one of this package. A missing file is damage as much as a
// broken one; a full disk or a refused permission is not.
func classify(dir string, err error) error {
	var disk *DiskError
	switch {
	case err == nil || errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed):
		return err
	case errors.As(err, &disk): // said already, and then wrapped by Pebble
		return disk
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist), errors.Is(err, pebble.ErrDBNotPristine):
		return damaged(dir, err)
	}
	return &DiskError{Dir: dir, Err: err}
}

// lockError says what a failed lock means.
func lockError(dir string, err error) error {
	// Pebble tells a second lock of the same process by its text alone.
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) ||
		strings.Contains(err.Error(), "lock held by current process") {
		return fmt.Errorf("%w: %s (%w): is another tally running on this data directory? Stop it, or use another one",
			ErrLocked, dir, err)
	}
	return &DiskError{Dir: dir, Err: fmt.Errorf("lock it: %w", err)}
}

// asideMark is in the name of a directory that was set aside.
const asideMark = ".damaged-"

// SetAside renames the directory of a damaged store, which must be closed, and returns its new
// name. One such directory a lane is kept, for whoever wants to look; an older one is removed, so
// that damage that comes again and again cannot fill the disk.
func SetAside(dir string, s seam.Seam) (string, error) {
	dir = filepath.Clean(dir)
	name := dir + asideMark + s.Now().UTC().Format("20060102T150405.000")
	older, err := filepath.Glob(escapeGlob(dir) + asideMark + "*")
	if err != nil {
		return "", fmt.Errorf("look for earlier damaged copies of %s: %w", dir, err)
	}
	for _, o := range older {
		if err := os.RemoveAll(o); err != nil {
			return "", &DiskError{Dir: o, Err: fmt.Errorf("remove this earlier damaged copy: %w", err)}
		}
	}
	if err := os.Rename(dir, name); err != nil {
		return "", &DiskError{Dir: dir, Err: fmt.Errorf("set it aside (remove it by hand, that is safe): %w", err)}
	}
	return name, nil
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
