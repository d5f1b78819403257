package link

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// whoseTries and whosePause bound how long the owner of a new connection is looked for: its process
// may be registered a moment after it has started.
const (
	whoseTries = 5
	whosePause = 10 * time.Millisecond
)

// whose finds the place that a connection comes from.
func (n *Network) whose(client net.Conn) string {
	far, ok1 := client.RemoteAddr().(*net.TCPAddr)
	near, ok2 := client.LocalAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		panic(fmt.Sprintf("link: a connection of %T", client))
	}
	for try := 1; ; try++ {
		if inode := inodeOf(far.Port, near.Port); inode != "" {
			if place := n.placeOf(inode); place != "" {
				return place
			}
		}
		if try == whoseTries || n.seam.Sleep(n.ctx, whosePause) != nil {
			return Unknown
		}
	}
}

// inodeOf is the socket of this machine with these ports; "" when there is none.
func inodeOf(local, remote int) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode := inodeIn(table, local, remote); inode != "" {
			return inode
		}
	}
	return ""
}

// inodeIn reads a table of the kernel: in each line, behind a number, the local and the remote
// address with the port in hexadecimal behind the colon, and in the tenth field the inode.
func inodeIn(table string, local, remote int) string {
	f, err := os.Open(table)
	if err != nil {
		return "" // a kernel without IPv6 has no second table
	}
	defer f.Close()
	near, far := fmt.Sprintf(":%04X", local), fmt.Sprintf(":%04X", remote)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !strings.Contains(lines.Text(), near) {
			continue
		}
		field := strings.Fields(lines.Text())
		if len(field) > 9 && strings.HasSuffix(field[1], near) && strings.HasSuffix(field[2], far) && field[9] != "0" {
			return field[9]
		}
	}
	return ""
}

// placeOf looks among the open files of the registered processes; "" when none of them has the
// socket.
func (n *Network) placeOf(inode string) string {
	n.mu.Lock()
	pids := maps.Clone(n.pids)
	n.mu.Unlock()
	for pid, place := range pids {
		if hasOpen(pid, "socket:["+inode+"]") {
			return place
		}
	}
	return ""
}

func hasOpen(pid int, what string) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	open, err := os.Open(dir)
	if err != nil {
		return false // it is gone
	}
	defer open.Close()
	names, _ := open.Readdirnames(-1) // what was read until an error is good for a look
	for _, name := range names {
		if to, err := os.Readlink(dir + name); err == nil && to == what {
			return true
		}
	}
	return false
}
