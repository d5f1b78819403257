package state

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// refusedFile is in the directory of a store that must not be used again; it holds why.
const refusedFile = "REFUSED"

// RefusedError says that an earlier owner has found the store to be of another past than Kafka's.
type RefusedError struct{ Dir, Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the state in %s was refused before, and stays so until that directory is removed: %s", e.Dir, e.Reason)
}

// Refuse marks the store as never to be opened again. A store that is ahead of Kafka would no
// longer look so once Kafka has more records, of another past.
func (s *Store) Refuse(reason string) error {
	s.w.Lock()
	defer s.w.Unlock()
	if s.closed {
		return ErrClosed
	}
	f, err := s.opt.FS.Create(s.opt.FS.PathJoin(s.dir, refusedFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return classify(s.dir, err)
	}
	_, err = f.Write([]byte(reason))
	return classify(s.dir, errors.Join(err, f.Sync(), f.Close(), syncDir(s.opt.FS, s.dir)))
}

func syncDir(fs FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkRefused refuses a store that was refused before.
func (s *Store) checkRefused() error {
	f, err := s.opt.FS.Open(s.opt.FS.PathJoin(s.dir, refusedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return openError(s.dir, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	reason := make([]byte, 4096)
	n, _ := f.Read(reason) // whatever it holds, it is there
	return &RefusedError{Dir: s.dir, Reason: string(reason[:n])}
}
