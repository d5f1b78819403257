package chaos

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tally-kafka/tally/internal/api"
)

// testDiskFills: the files of the running binary may not grow any more, as on a full disk. The
// lanes stop and say why, and go on by themselves once there is room; killed meanwhile, the next
// start is exact. With too few open files it does not start, and says so.
func testDiskFills(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{lanes: 2})
	m := j.machine("node")
	p := m.start()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	for _, room := range []bool{true, false} {
		p.limitFiles(72 << 10)           // above what Raft has: that it cannot rewrite its own pages is another fault
		j.send(3000, wordEvents(j.rand)) // more than that in tables
		p.awaitStatus(60*time.Second, "the lanes wait for the disk", func(st api.AppStatus) string {
			for _, l := range st.Lanes {
				if l.State != api.LaneAcquiring || !strings.Contains(l.Reason, "by itself") {
					return fmt.Sprintf("lane %d is %s: %s", l.Lane, l.State, l.Reason)
				}
				if !strings.Contains(l.Reason, "file too large") || !strings.Contains(l.Reason, "ulimit -f") || !strings.Contains(l.Reason, m.dir) {
					t.Errorf("lane %d says %q", l.Lane, l.Reason)
				}
			}
			return ""
		})
		if room {
			p.limitFiles(unix.RLIM_INFINITY)
		} else {
			p.kill()
			p = m.start()
		}
		j.verify(p)
	}
	p.stop()

	args := append([]string{"-c", `ulimit -n 100; exec "$0" "$@"`}, p.cmd.Args...)
	out, err := exec.Command("sh", args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "only 100 files open") || !strings.Contains(string(out), "ulimit -n 65536") {
		t.Errorf("with 100 files it ends with %v:\n%s", err, out)
	}
}

// limitFiles sets how large a file of the process may grow; what a process may do for itself with
// `ulimit -f`.
func (p *process) limitFiles(bytes uint64) {
	p.t.Helper()
	limit := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	must(p.t, unix.Prlimit(p.cmd.Process.Pid, syscall.RLIMIT_FSIZE, &limit, nil))
}
