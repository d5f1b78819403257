package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// DiskError says that the disk, or the system before it, refused an operation of the store. What is
// on the disk is still a consistent prefix: close the store, and open it again once the cause is
// gone.
type DiskError struct {
	Dir string
	Err error
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("state in %s: %v%s", e.Dir, e.Err, advice(e.Err))
}

// Unwrap gives what the system said.
func (e *DiskError) Unwrap() error { return e.Err }

// advice says what a refusal of the system asks for, behind its own words.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ": the disk is full; free some space there"
	case errors.Is(err, syscall.EROFS):
		return ": the disk is read-only; mount it for writing (the kernel's log says why it is not)"
	case errors.Is(err, syscall.EIO):
		return ": the disk reports errors; look into the kernel's log, and take another --data-dir if they stay: the state is built again from the changelog"
	case errors.Is(err, syscall.EMFILE):
		return fmt.Sprintf(": all %s files that this process may have open are; raise the limit: `ulimit -n 65536` before `tally run`, or LimitNOFILE=65536 in its systemd unit", fileLimit())
	case errors.Is(err, syscall.ENFILE):
		return ": the whole system has too many files open; raise fs.file-max with sysctl"
	case errors.Is(err, syscall.EFBIG):
		return ": a file may not grow further; raise the limit with `ulimit -f unlimited`"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return ": the files there must belong to the user that runs tally"
	}
	return ""
}

// tryFile is the name of the file that TryDisk writes.
const tryFile = "disk-trial"

// TryDisk writes so many bytes below a directory as a store does, and takes them away again. The
// error is a *DiskError.
func TryDisk(disk FS, dir string, bytes int) error {
	if disk == nil {
		disk = vfs.Default
	}
	path := disk.PathJoin(dir, tryFile)
	err := cmp.Or(disk.MkdirAll(dir, 0o755), writeOut(disk, path, bytes))
	if gone := disk.Remove(path); err == nil && !errors.Is(gone, fs.ErrNotExist) {
		err = gone
	}
	if err != nil {
		return &DiskError{Dir: dir, Err: fmt.Errorf("a trial: %w", err)}
	}
	return nil
}

func writeOut(disk FS, path string, bytes int) error {
	f, err := disk.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	for block := make([]byte, 64<<10); bytes > 0 && err == nil; bytes -= len(block) {
		_, err = f.Write(block)
	}
	return cmp.Or(err, f.Sync(), f.Close())
}

// fileLimit is how many files this process may have open, in words.
func fileLimit() string {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return "the"
	}
	return fmt.Sprint(limit.Cur)
}
