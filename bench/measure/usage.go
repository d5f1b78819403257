package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process and its children have cost so far.
type Usage struct {
	CPU     time.Duration // user and system
	PeakRSS int64         // bytes; the sum of each process's peak
	Written int64         // bytes that were sent to the disk
}

// Sub is what was used since an earlier look. The peak remains the peak.
func (u Usage) Sub(before Usage) Usage {
	return Usage{CPU: u.CPU - before.CPU, PeakRSS: u.PeakRSS, Written: u.Written - before.Written}
}

// Of reads what a process and its living children have used. A child that ends during the look is
// left out, or counted by its parent.
func Of(pids ...int) (Usage, error) {
	var all Usage
	children, err := childrenOf()
	if err != nil {
		return all, err
	}
	for _, pid := range pids {
		u, err := of(pid)
		if err != nil {
			return all, err
		}
		all.add(u)
		all.addChildren(pid, children)
	}
	return all, nil
}

func (u *Usage) add(more Usage) {
	u.CPU, u.PeakRSS, u.Written = u.CPU+more.CPU, u.PeakRSS+more.PeakRSS, u.Written+more.Written
}

func (u *Usage) addChildren(pid int, children map[int][]int) {
	for _, child := range children[pid] {
		if more, err := of(child); err == nil {
			u.add(more)
		}
		u.addChildren(child, children)
	}
}

// tick is Linux's USER_HZ, the same on every architecture that Go runs on.
const tick = 10 * time.Millisecond

func of(pid int) (u Usage, err error) {
	stat, err := readStat(pid)
	if err != nil {
		return u, err
	}
	// Children that were waited for are counted here, those that live by addChildren.
	for _, field := range stat[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		u.CPU += time.Duration(n) * tick
	}
	if u.PeakRSS, err = field(pid, "status", "VmHWM:"); err != nil {
		return u, err
	}
	u.PeakRSS *= 1024
	u.Written, err = field(pid, "io", "write_bytes:")
	return u, err
}

// readStat are the fields behind the name, which may hold blanks: [0] is the state, [1] the parent.
func readStat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	s := string(text)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat is %q", pid, s)
	}
	return fields, nil
}

// field finds a line "name number" of a file of /proc.
func field(pid int, file, name string) (int64, error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s: the process has ended", path, name)
}

func childrenOf() (map[int][]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		stat, err := readStat(pid)
		if err != nil {
			continue // it has just ended
		}
		if parent, err := strconv.Atoi(stat[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	return children, nil
}
