package node

import (
	"fmt"
	"syscall"
)

// How a process's open files are shared out: some are for sockets and what else there is, and half
// of the rest for the stores. With fewer than openFilesLeast a node does not start: it would stop
// lanes soon after.
const (
	openFilesLeast = 256
	openFilesOther = 128
	openFilesMost  = 1 << 20
)

// openFiles is how many files all stores together may keep open, of the given limit or of the
// system's. Go has raised the limit to the hard one.
func openFiles(limit int) (stores int, err error) {
	if limit == 0 {
		var system syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &system); err != nil {
			return 0, fmt.Errorf("ask for the limit of open files: %w", err)
		}
		limit = int(min(uint64(system.Cur), openFilesMost))
	}
	if limit < openFilesLeast {
		return 0, fmt.Errorf("this process may have only %d files open, and a node needs %d: raise the limit with `ulimit -n 65536` before `tally run`, or LimitNOFILE=65536 in its systemd unit",
			limit, openFilesLeast)
	}
	return (limit - openFilesOther) / 2, nil
}
