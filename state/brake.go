package state

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// brake is the disk as Pebble sees it. The first change that the disk refuses is the store's
// failure, and from then on nothing more changes there: what it has is a prefix with its own
// position, for the next Open. Pebble itself is told that all went well.
//
// What Pebble writes outside of the store is a checkpoint, whose errors it hears of.
//
// Pebble with the errors was left out. It tries a failed flush again without a pause or an end, so
// that writes, Open and Close wait for ever on a full disk; it ends the process when its manifest
// cannot be written; and after a failed sync it writes behind a record that may be lost, and
// removes files that the disk's manifest still names. What Pebble believes to have written behind
// the brake is not there, so reads of the disk are refused with the failure.
type brake struct {
	vfs.FS
	w *watcher
}

// change does what changes the disk, unless the store has failed, and notes its failure.
func (b brake) change(op func() error) error {
	if b.w.failure() != nil {
		return nil
	}
	if err := op(); err != nil {
		b.w.fail(err)
	}
	return nil
}

// open is change for a file that is to be written.
func (b brake) open(op func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File = nowhere{}
	err := b.change(func() error {
		opened, err := op()
		if err == nil {
			f = opened
		}
		return err
	})
	return brakedFile{f, b}, err
}

// unlessGone is change for what Pebble may find gone: a file that was removed already.
func (b brake) unlessGone(op func() error) (gone error) {
	err := b.change(func() error {
		err := op()
		if errors.Is(err, fs.ErrNotExist) {
			gone = err
			return nil
		}
		return err
	})
	return errors.Join(err, gone)
}

// Open opens a file for reading.
func (b brake) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := b.w.failure(); err != nil {
		return nil, err
	}
	f, err := b.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return brakedFile{f, b}, nil
}

func (b brake) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if b.outside(name) {
		return b.FS.Create(name, c)
	}
	return b.open(func() (vfs.File, error) { return b.FS.Create(name, c) })
}

func (b brake) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if b.outside(name) {
		return b.FS.OpenReadWrite(name, c, opts...)
	}
	return b.open(func() (vfs.File, error) { return b.FS.OpenReadWrite(name, c, opts...) })
}

func (b brake) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return b.open(func() (vfs.File, error) { return b.FS.ReuseForWrite(from, to, c) })
}

func (b brake) OpenDir(name string) (vfs.File, error) {
	if b.outside(name) {
		return b.FS.OpenDir(name)
	}
	return b.open(func() (vfs.File, error) { return b.FS.OpenDir(name) })
}

func (b brake) Link(from, to string) error {
	if b.outside(to) {
		return b.FS.Link(from, to)
	}
	return b.unlessGone(func() error {
		err := b.FS.Link(from, to)
		if noLinks(err) {
			err = vfs.Copy(b.FS, from, to) // as Pebble would, which never hears of the error
		}
		return err
	})
}

// noLinks reports whether a file system refuses hard links as such.
func noLinks(err error) bool {
	for _, no := range []error{syscall.ENOSYS, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.EXDEV, syscall.EPERM, syscall.EMLINK} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

func (b brake) Rename(from, to string) error {
	if b.outside(to) {
		return b.FS.Rename(from, to)
	}
	return b.unlessGone(func() error { return b.FS.Rename(from, to) })
}

func (b brake) Remove(name string) error {
	if b.outside(name) {
		return b.FS.Remove(name)
	}
	return b.unlessGone(func() error { return b.FS.Remove(name) })
}

func (b brake) RemoveAll(name string) error {
	if b.outside(name) {
		return b.FS.RemoveAll(name)
	}
	return b.unlessGone(func() error { return b.FS.RemoveAll(name) })
}

func (b brake) MkdirAll(dir string, perm os.FileMode) error {
	if b.outside(dir) {
		return b.FS.MkdirAll(dir, perm)
	}
	return b.change(func() error { return b.FS.MkdirAll(dir, perm) })
}

// brakedFile is an open file, or a directory that is open for its sync.
type brakedFile struct {
	vfs.File
	b brake
}

func (f brakedFile) Read(p []byte) (int, error) {
	if err := f.b.w.failure(); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f brakedFile) ReadAt(p []byte, at int64) (int, error) {
	if err := f.b.w.failure(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, at)
}

func (f brakedFile) Write(p []byte) (int, error) {
	return len(p), f.b.change(func() error { _, err := f.File.Write(p); return err })
}

func (f brakedFile) WriteAt(p []byte, at int64) (int, error) {
	return len(p), f.b.change(func() error { _, err := f.File.WriteAt(p, at); return err })
}

func (f brakedFile) Sync() error     { return f.b.change(f.File.Sync) }
func (f brakedFile) SyncData() error { return f.b.change(f.File.SyncData) }

func (f brakedFile) SyncTo(length int64) (full bool, err error) {
	err = f.b.change(func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f brakedFile) Preallocate(offset, length int64) error {
	return f.b.change(func() error { return f.File.Preallocate(offset, length) })
}

func (f brakedFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.b.w.fail(err)
	}
	return nil
}

// nowhere stands for a file that could not be made. The brake is on, so that nothing is asked of it
// but this.
type nowhere struct{ vfs.File }

func (nowhere) Close() error                { return nil }
func (nowhere) Fd() uintptr                 { return vfs.InvalidFd }
func (nowhere) Prefetch(int64, int64) error { return nil }
func (nowhere) Stat() (vfs.FileInfo, error) { return nil, fs.ErrNotExist }
