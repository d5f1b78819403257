package state

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// brake lets nothing more change on the disk once Pebble's background work has failed. Pebble would
// try on: after a failed sync of its manifest it would write behind a record that may be lost, and
// remove files that the disk's manifest still names. With the brake the disk stays as it was at the
// first failure, which is a prefix that a new Open reads.
type brake struct {
	vfs.FS
	w *watcher
}

func (b brake) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := b.w.failure(); err != nil {
		return nil, err
	}
	f, err := b.FS.Create(name, c)
	return b.file(f, err)
}

func (b brake) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := b.w.failure(); err != nil {
		return nil, err
	}
	f, err := b.FS.OpenReadWrite(name, c, opts...)
	return b.file(f, err)
}

func (b brake) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := b.w.failure(); err != nil {
		return nil, err
	}
	f, err := b.FS.ReuseForWrite(from, to, c)
	return b.file(f, err)
}

func (b brake) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &brakedFile{f, b.w}, nil
}

func (b brake) unlessFailed(op func() error) error {
	if err := b.w.failure(); err != nil {
		return err
	}
	return op()
}

func (b brake) Link(from, to string) error {
	return b.unlessFailed(func() error { return b.FS.Link(from, to) })
}

func (b brake) Rename(from, to string) error {
	return b.unlessFailed(func() error { return b.FS.Rename(from, to) })
}

func (b brake) Remove(name string) error {
	return b.unlessFailed(func() error { return b.FS.Remove(name) })
}

func (b brake) RemoveAll(name string) error {
	return b.unlessFailed(func() error { return b.FS.RemoveAll(name) })
}

func (b brake) MkdirAll(dir string, perm os.FileMode) error {
	return b.unlessFailed(func() error { return b.FS.MkdirAll(dir, perm) })
}

// brakedFile is a file that was opened for writing.
type brakedFile struct {
	vfs.File
	w *watcher
}

func (f *brakedFile) Write(p []byte) (int, error) {
	if err := f.w.failure(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *brakedFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.w.failure(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

func (f *brakedFile) Sync() error {
	if err := f.w.failure(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *brakedFile) SyncData() error {
	if err := f.w.failure(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *brakedFile) SyncTo(length int64) (bool, error) {
	if err := f.w.failure(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}
