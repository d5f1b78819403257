package state

import (
	"errors"
	"fmt"
	"syscall"
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

// fileLimit is how many files this process may have open, in words.
func fileLimit() string {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return "the"
	}
	return fmt.Sprint(limit.Cur)
}
