package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// machine is what this machine has.
type machine struct {
	dir      string
	there    bool
	writable error // why nothing can be written to the data dir
	identity error // why node.json is not one
	embedded string
	stores   map[string]int // lanes with state, by app
	pid      int            // of the node that runs in the data dir; 0: none

	free, size answer[uint64] // bytes of the disk of the data dir
	files      answer[uint64] // how many files a node may have open
}

func lookMachine(dir string) machine {
	m := machine{dir: dir}
	info, err := os.Stat(dir)
	if m.there = err == nil && info.IsDir(); m.there {
		m.writable = tryWrite(dir)
		m.identity = readIdentity(dir)
		m.embedded = embeddedCluster(dir)
		m.stores = countStores(dir)
		m.pid = runningPID(dir)
		m.free, m.size = diskOf(dir)
	}
	m.files = filesOf(m.pid)
	return m
}

// tryWrite makes a file and takes it away again.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func readIdentity(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "node.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var id struct{ ID string }
	if err := json.Unmarshal(data, &id); err != nil {
		return err
	}
	if id.ID == "" {
		return errors.New("it has no id")
	}
	return nil
}

// embeddedCluster is the cluster id of the embedded broker whose data is there, "" for none.
func embeddedCluster(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, "broker", "identity.json"))
	if err != nil {
		return ""
	}
	var id struct {
		ClusterID string `json:"cluster_id"`
	}
	if json.Unmarshal(data, &id) != nil {
		return ""
	}
	return id.ClusterID
}

func countStores(dir string) map[string]int {
	lanes, err := filepath.Glob(filepath.Join(dir, "state", "*", "*"))
	if err != nil {
		panic("doctor: the pattern of the stores is wrong: " + err.Error())
	}
	stores := map[string]int{}
	for _, lane := range lanes {
		if _, err := strconv.Atoi(filepath.Base(lane)); err == nil {
			stores[filepath.Base(filepath.Dir(lane))]++
		}
	}
	return stores
}

// runningPID is the node that holds the data dir's lock. It reads the kernel's list: to try the
// lock would take it for a moment, and a node that starts just then would be turned away. Where
// there is no such list it answers 0.
func runningPID(dir string) int {
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, "LOCK"), &st); err != nil {
		return 0
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	return lockHolder(string(locks), st.Ino)
}

// lockHolder finds the holder of a lock on an inode in lines such as
// "2: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF".
func lockHolder(locks string, inode uint64) int {
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], fmt.Sprintf(":%d", inode)) {
			pid, _ := strconv.Atoi(f[4])
			return pid
		}
	}
	return 0
}

func diskOf(dir string) (free, size answer[uint64]) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		err = fmt.Errorf("ask for the free space of %s: %w", dir, err)
		return answer[uint64]{err: err}, answer[uint64]{err: err}
	}
	block := uint64(st.Bsize)
	return answer[uint64]{v: st.Bavail * block}, answer[uint64]{v: st.Blocks * block}
}

// filesOf is the limit of the running node where the system tells it, else that of this process: a
// node started from the same place gets the same.
func filesOf(pid int) answer[uint64] {
	if n, ok := filesOfProcess(pid); ok {
		return answer[uint64]{v: n}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return answer[uint64]{err: fmt.Errorf("ask for the limit of open files: %w", err)}
	}
	return answer[uint64]{v: uint64(limit.Cur)}
}

func filesOfProcess(pid int) (uint64, bool) {
	if pid == 0 {
		return 0, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Max open files")); ok {
			fields := bytes.Fields(rest)
			if len(fields) == 0 {
				return 0, false
			}
			n, err := strconv.ParseUint(string(fields[0]), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
