package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is the file system of a node's stores, of which LosePower takes what a disk may lose whose
// power is cut: what was written behind the last sync of a file, files whose directory was not
// synced since they were made, and removals since then. Directories, and renames, it keeps.
type Disk struct {
	vfs.FS
	awaitSync func()       // comes before each sync
	room      func() error // comes before a file is made, and before each write

	mu      sync.RWMutex // read by each change; held for good once the power is gone
	table   sync.Mutex
	files   map[string]*onDisk // those that have something to lose
	removed map[string]removal // by the name at which a removed file lies
	number  int
}

// onDisk is what the disk has of a file.
type onDisk struct {
	written, synced int64
	named           bool // its directory was synced since it was made
}

type removal struct {
	was  string
	file *onDisk // nil: all of it was there
}

// NewDisk is a disk that has lost nothing. Each sync begins when awaitSync has come back, as one
// that hangs does. What needs room fails with the error of room, as on one that is full.
func NewDisk(awaitSync func(), room func() error) *Disk {
	return &Disk{FS: vfs.Default, awaitSync: awaitSync, room: room, files: map[string]*onDisk{}, removed: map[string]removal{}}
}

// LosePower takes what the disk may lose. Nothing changes the disk any more: the process has to
// end.
func (d *Disk) LosePower() error {
	d.mu.Lock()
	var errs []error
	note := func(err error) bool {
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a whole store was removed past this disk
			errs = append(errs, err)
		}
		return err == nil
	}
	for name, f := range d.files {
		note(f.lose(name))
	}
	for at, r := range d.removed {
		if note(os.Rename(at, r.was)) && r.file != nil {
			note(r.file.lose(r.was))
		}
	}
	return errors.Join(errs...)
}

func (f *onDisk) lose(name string) error {
	switch {
	case !f.named:
		return os.Remove(name)
	case f.written > f.synced:
		return os.Truncate(name, f.synced)
	}
	return nil
}

// change is a change of the disk's table, which the loss of power ends.
func (d *Disk) change(do func() error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.table.Lock()
	defer d.table.Unlock()
	return do()
}

// Create makes a file, which is lost until its directory is synced.
func (d *Disk) Create(name string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = d.change(func() error {
		if err := d.room(); err != nil {
			return err
		}
		_, gone := os.Lstat(name)
		lay := gone == nil
		if f, err = d.FS.Create(name, category); err != nil {
			return err
		}
		had := d.files[name]
		d.files[name] = &onDisk{named: lay && had == nil || had != nil && had.named}
		f = &diskFile{f, d, d.files[name]}
		return nil
	})
	return f, err
}

// OpenReadWrite opens a file of which all is there.
func (d *Disk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (f vfs.File, err error) {
	err = d.change(func() error {
		if f, err = d.FS.OpenReadWrite(name, category, opts...); err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if d.files[name] == nil {
			d.files[name] = &onDisk{written: info.Size(), synced: info.Size(), named: true}
		}
		f = &diskFile{f, d, d.files[name]}
		return nil
	})
	return f, err
}

// ReuseForWrite is for logs, which no store has.
func (d *Disk) ReuseForWrite(was, name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, fmt.Errorf("failpoint: %s is to become %s: a disk that loses its power does not know how", was, name)
}

// Link gives a file another name, which is lost until its directory is synced.
func (d *Disk) Link(was, name string) error {
	return d.change(func() error {
		if err := d.FS.Link(was, name); err != nil {
			return err
		}
		info, err := d.FS.Stat(name)
		if err == nil {
			d.files[name] = &onDisk{written: info.Size(), synced: info.Size()}
		}
		return err
	})
}

// Rename is kept.
func (d *Disk) Rename(was, name string) error {
	return d.change(func() error {
		if err := d.FS.Rename(was, name); err != nil {
			return err
		}
		d.rename(was, name)
		return nil
	})
}

// rename takes what the table has of a file, or of what is in a directory, to another name.
func (d *Disk) rename(was, name string) {
	delete(d.files, name)
	for path, f := range maps.Clone(d.files) {
		if within(path, was) {
			f.named = f.named || path == was
			delete(d.files, path)
			d.files[name+path[len(was):]] = f
		}
	}
	for at, r := range maps.Clone(d.removed) {
		if within(at, was) {
			r.was = name + r.was[len(was):]
			delete(d.removed, at)
			d.removed[name+at[len(was):]] = r
		}
	}
}

// within reports whether a path is this name, or in the directory of the name.
func within(path, name string) bool {
	rest, ok := strings.CutPrefix(path, name)
	return ok && (rest == "" || rest[0] == filepath.Separator)
}

// unsynced is in the names at which files lie that were removed, until their directory is synced.
const unsynced = ".unsynced-"

// Remove removes a file, which comes back when power is lost before its directory is synced.
func (d *Disk) Remove(name string) error {
	return d.change(func() error {
		f := d.files[name]
		if f != nil && !f.named {
			delete(d.files, name)
			return d.FS.Remove(name)
		}
		if info, err := os.Lstat(name); err != nil || info.IsDir() || d.comesBack(name) {
			delete(d.files, name)
			return d.FS.Remove(name)
		}
		d.number++
		at := fmt.Sprint(name, unsynced, d.number)
		if err := os.Rename(name, at); err != nil {
			return err
		}
		d.removed[at] = removal{name, f}
		delete(d.files, name)
		return nil
	})
}

// comesBack reports whether an earlier file of the name does, when power is lost.
func (d *Disk) comesBack(name string) bool {
	for _, r := range d.removed {
		if r.was == name {
			return true
		}
	}
	return false
}

// RemoveAll is kept.
func (d *Disk) RemoveAll(name string) error {
	return d.change(func() error {
		maps.DeleteFunc(d.files, func(path string, _ *onDisk) bool { return within(path, name) })
		maps.DeleteFunc(d.removed, func(at string, _ removal) bool { return within(at, name) })
		return d.FS.RemoveAll(name)
	})
}

// List leaves out what was removed. What a process left there that was killed is removed by now.
func (d *Disk) List(dir string) (names []string, err error) {
	err = d.change(func() error {
		all, err := d.FS.List(dir)
		for _, name := range all {
			at := filepath.Join(dir, name)
			if !strings.Contains(name, unsynced) {
				names = append(names, name)
			} else if _, mine := d.removed[at]; !mine {
				_ = d.FS.Remove(at)
			}
		}
		return err
	})
	return names, err
}

// OpenDir opens a directory, whose sync names what was made there and forgets what was removed.
func (d *Disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &diskDir{f, d, name}, nil
}

type diskDir struct {
	vfs.File
	disk *Disk
	name string
}

func (f *diskDir) Sync() error {
	f.disk.awaitSync()
	return f.disk.change(func() error {
		if err := f.File.Sync(); err != nil {
			return err
		}
		for name, of := range f.disk.files {
			if filepath.Dir(name) == filepath.Clean(f.name) {
				of.named = true
			}
		}
		for at := range f.disk.removed {
			if filepath.Dir(at) == filepath.Clean(f.name) {
				delete(f.disk.removed, at)
				// It is not there where the directory was taken away otherwise, with its app.
				if err := f.disk.FS.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
		return nil
	})
}

type diskFile struct {
	vfs.File
	disk *Disk
	is   *onDisk
}

func (f *diskFile) Write(b []byte) (n int, err error) {
	err = f.disk.change(func() error {
		if err := f.disk.room(); err != nil {
			return err
		}
		n, err = f.File.Write(b)
		f.is.written += int64(n)
		return err
	})
	return n, err
}

func (f *diskFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.disk.change(func() error {
		if err := f.disk.room(); err != nil {
			return err
		}
		n, err = f.File.WriteAt(b, at)
		f.is.written = max(f.is.written, at+int64(n))
		return err
	})
	return n, err
}

func (f *diskFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *diskFile) SyncData() error { return f.sync(f.File.SyncData) }

// SyncTo syncs all, as it may.
func (f *diskFile) SyncTo(int64) (bool, error) { return true, f.sync(f.File.SyncData) }

func (f *diskFile) sync(do func() error) error {
	f.disk.awaitSync()
	f.disk.table.Lock()
	written := f.is.written
	f.disk.table.Unlock()
	if err := do(); err != nil {
		return err
	}
	return f.disk.change(func() error {
		f.is.synced = max(f.is.synced, written)
		return nil
	})
}
