package link

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// whoseTries and whosePause bound how long the owner of a new connection is looked for: its process
// may be registered a moment after it has started.
const (
	whoseTries = 4
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
		place, open := n.look(far, near)
		if place != "" || !open || try == whoseTries || n.seam.Sleep(n.ctx, whosePause) != nil {
			return cmp.Or(place, Unknown)
		}
	}
}

// look looks once. Few do at a time, since each look costs; who has given up meanwhile is not
// looked for, or those that wait would become more and more.
func (n *Network) look(far, near *net.TCPAddr) (place string, open bool) {
	n.looking <- struct{}{}
	defer func() { <-n.looking }()
	inode, err := inodeOf(far, near)
	if err != nil || inode == 0 { // the kernel has it, and no process has
		return "", false
	}
	return n.placeOf(inode), true
}

// inodeOf asks the kernel for the socket of this machine between two addresses. (The tables in
// /proc/net say it too, but reading them takes tens of milliseconds.)
func inodeOf(local, remote *net.TCPAddr) (inode uint32, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, fmt.Errorf("ask for a socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, diagRequest(local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("ask for a socket: %w", err)
	}
	answer := make([]byte, 4096)
	size, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0, fmt.Errorf("ask for a socket: %w", err)
	}
	answer = answer[:size]
	if size < unix.SizeofNlMsghdr+inodeAt+4 || binary.NativeEndian.Uint16(answer[4:]) != sockDiagByFamily {
		return 0, fmt.Errorf("there is no socket from %v to %v", local, remote)
	}
	return binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr+inodeAt:]), nil
}

// The kernel's names: SOCK_DIAG_BY_FAMILY, and the offset of idiag_inode in struct inet_diag_msg.
const (
	sockDiagByFamily = 20
	inodeAt          = 68
)

// diagRequest is a struct nlmsghdr with a struct inet_diag_req_v2 for one TCP socket.
func diagRequest(local, remote *net.TCPAddr) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+56)
	h := (*unix.NlMsghdr)(unsafe.Pointer(&b[0]))
	h.Type, h.Flags = sockDiagByFamily, unix.NLM_F_REQUEST
	b = append(b, unix.AF_INET, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // in any state
	b = binary.BigEndian.AppendUint16(b, uint16(local.Port))
	b = binary.BigEndian.AppendUint16(b, uint16(remote.Port))
	for _, addr := range []*net.TCPAddr{local, remote} {
		b = append(b, addr.IP.To4()...)
		b = append(b, make([]byte, 12)...)
	}
	b = append(b, make([]byte, 4)...)                   // of any interface
	b = binary.NativeEndian.AppendUint64(b, ^uint64(0)) // with any cookie
	h = (*unix.NlMsghdr)(unsafe.Pointer(&b[0]))
	h.Len = uint32(len(b))
	return b
}

// process is one that Register named.
type process struct {
	pid   int
	place string
	open  int // how many files it had open when it was looked at last
}

// placeOf looks among the open files of the registered processes, those with few first; "" when
// none of them has the socket.
func (n *Network) placeOf(inode uint32) string {
	n.mu.Lock()
	all := make([]process, 0, len(n.pids))
	for _, p := range n.pids {
		all = append(all, *p)
	}
	n.mu.Unlock()
	slices.SortFunc(all, func(a, b process) int { return cmp.Or(a.open-b.open, a.pid-b.pid) })
	for _, p := range all {
		found, open := hasOpen(p.pid, fmt.Sprintf("socket:[%d]", inode))
		n.mu.Lock()
		if known := n.pids[p.pid]; known != nil && !found {
			known.open = open
		}
		n.mu.Unlock()
		if found {
			return p.place
		}
	}
	return ""
}

func hasOpen(pid int, what string) (found bool, open int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	files, err := os.Open(dir)
	if err != nil {
		return false, 0 // it is gone
	}
	defer files.Close()
	names, _ := files.Readdirnames(-1) // what was read until an error is good for a look
	for _, name := range names {
		if to, err := os.Readlink(dir + name); err == nil && to == what {
			return true, len(names)
		}
	}
	return false, len(names)
}
