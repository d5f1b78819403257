package link

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// askEnv makes this binary a process of its own that asks an address, line by line.
const askEnv = "LINK_TEST_ASK"

func TestMain(m *testing.M) {
	if addr := os.Getenv(askEnv); addr != "" {
		relay(addr)
		return
	}
	os.Exit(m.Run())
}

// relay opens a connection for each line that it reads, and prints the answer or the error.
func relay(addr string) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := ask(addr, in.Text(), 300*time.Millisecond)
		if err != nil {
			answer = "error"
		}
		fmt.Println(answer)
	}
}

func ask(addr, text string, within time.Duration) (string, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return exchange(conn, bufio.NewReader(conn), text, within)
}

func exchange(conn net.Conn, in *bufio.Reader, text string, within time.Duration) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(within))
	if _, err := fmt.Fprintln(conn, text); err != nil {
		return "", err
	}
	line, err := in.ReadString('\n')
	return strings.TrimSpace(line), err
}

// echo answers each line with itself.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func newNetwork(t *testing.T) (n *Network, addr string) {
	n = New(seam.World(), 1)
	t.Cleanup(n.Close)
	addr, err := n.Listen("b", echo(t))
	if err != nil {
		t.Fatal(err)
	}
	n.Register("a", os.Getpid())
	return n, addr
}

// child starts another process, of place c, and gives what asks through it.
func child(t *testing.T, n *Network, addr string) (ask func(string) string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), askEnv+"="+addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
	n.Register("c", cmd.Process.Pid)
	lines := bufio.NewReader(out)
	return func(text string) string {
		if _, err := fmt.Fprintln(in, text); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
}

const (
	soon = 150 * time.Millisecond
	long = 10 * time.Second
)

// TestPlaces: a rule meets the connections of its place, and those of no other.
func TestPlaces(t *testing.T) {
	n, addr := newNetwork(t)
	other := child(t, n, addr)
	heal := n.BreakBoth("a", "b", Rule{Cut: true})
	if _, err := ask(addr, "x", long); err == nil {
		t.Error("a is cut off, and is answered")
	}
	if got := other("x"); got != "x" {
		t.Errorf("c is not cut off, and gets %q", got)
	}
	heal()
	if got, err := ask(addr, "x", long); got != "x" {
		t.Errorf("healed, a gets %q (%v)", got, err)
	}
	n.Break("b", "c", Rule{Frozen: true})
	if got := other("x"); got != "error" {
		t.Errorf("what b says to c is lost, and c gets %q", got)
	}
	if got, err := ask(addr, "x", long); got != "x" {
		t.Errorf("c is frozen, and a gets %q (%v)", got, err)
	}
}

// dialed is a connection, until the test ends, with what comes from it.
func dialed(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, bufio.NewReader(conn)
}

// TestOpenConnection: a connection that is open outlives frost, in either direction, and not a cut.
func TestOpenConnection(t *testing.T) {
	n, addr := newNetwork(t)
	conn, in := dialed(t, addr)
	for i, w := range []way{{"a", "b"}, {"b", "a"}} {
		heal := n.Break(w.from, w.to, Rule{Frozen: true})
		if got, err := exchange(conn, in, "lost?", soon); err == nil {
			t.Errorf("%s to %s is frozen, and %q is answered", w.from, w.to, got)
		}
		heal()
		want := fmt.Sprintf("then %d", i)
		if got, err := exchange(conn, in, want, long); err != nil || got != "lost?" {
			t.Errorf("what was under way comes out as %q (%v)", got, err)
		}
		if got, err := in.ReadString('\n'); err != nil || got != want+"\n" {
			t.Errorf("what came after it comes out as %q (%v)", got, err)
		}
	}
	if got := n.Conns("a", "b"); got != 1 {
		t.Errorf("%d connections are open", got)
	}
	n.Break("b", "a", Rule{Cut: true}) // of the other direction
	_ = conn.SetDeadline(time.Now().Add(long))
	if _, err := io.Copy(io.Discard, conn); err == nil || os.IsTimeout(err) {
		t.Errorf("a cut connection ends with %v", err)
	}
}

// TestPoor: delays, rates, stalls and resets, added up.
func TestPoor(t *testing.T) {
	n, addr := newNetwork(t)
	first := n.Break("a", "b", Rule{Delay: 60 * time.Millisecond})
	n.Break("b", "a", Rule{StallPerMille: 1000, StallFor: 50 * time.Millisecond})
	began := time.Now()
	if got, err := ask(addr, "x", long); got != "x" {
		t.Fatalf("%q (%v)", got, err)
	}
	if took := time.Since(began); took < 110*time.Millisecond {
		t.Errorf("an answer after %v, over a delay of 60 ms and a stall of 50 ms", took)
	}
	first()
	n.Break("a", "b", Rule{BytesPerSecond: 100})
	began = time.Now()
	if got, err := ask(addr, "0123456789", long); got != "0123456789" {
		t.Fatalf("%q (%v)", got, err)
	}
	if took := time.Since(began); took < 150*time.Millisecond {
		t.Errorf("11 bytes after %v, at 100 a second and with a stall", took)
	}
	n.Heal()
	n.Break("b", "a", Rule{ResetPerMille: 1000})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(long))
	_, _ = fmt.Fprintln(conn, "0123456789")
	if all, err := io.ReadAll(conn); err == nil || len(all) > 6 {
		t.Errorf("a reset answer comes as %q (%v)", all, err)
	}
}

// TestHits: whoever heals is told how often the rule hit something, and a rule that met nothing, or
// the other direction alone, hit nothing.
func TestHits(t *testing.T) {
	for name, r := range map[string]Rule{
		"cut": {Cut: true}, "delay": {Delay: time.Millisecond}, "rate": {BytesPerSecond: 1000},
		"stall": {StallPerMille: 1000, StallFor: time.Millisecond}, "reset": {ResetPerMille: 1000},
	} {
		n, addr := newNetwork(t)
		idle := n.BreakBoth("b", "c", r)
		heal := n.Break("a", "b", r)
		_, err := ask(addr, "x", long)
		if got := heal(); got != 1 || idle() != 0 || (err != nil) != (r.Cut || r.ResetPerMille > 0) {
			t.Errorf("%s: %d hits (%v)", name, got, err)
		}
	}
	n, addr := newNetwork(t)
	conn, in := dialed(t, addr)
	if got, err := exchange(conn, in, "x", long); got != "x" {
		t.Fatalf("%q (%v)", got, err)
	}
	one, other := n.Break("a", "b", Rule{Frozen: true}), n.Break("b", "a", Rule{Frozen: true})
	if _, err := exchange(conn, in, "y", soon); err == nil {
		t.Error("nothing passes, and an answer comes")
	}
	if back, got := other(), one(); got != 1 || back != 0 { // what is asked is let go last: an answer would come
		t.Errorf("frost hit what was asked %d times, and %d answers, which nobody gave", got, back)
	}
	if hits := n.BreakBoth("a", "b", Rule{Cut: true})(); hits == 0 {
		t.Error("an open connection is cut, and that hit nothing")
	}
	back := n.Break("b", "a", Rule{Cut: true})
	if _, err := ask(addr, "x", long); err == nil || back() != 1 {
		t.Errorf("a new connection is cut, by a rule of the other direction (%v)", err)
	}
}

// TestUnknown: a connection of no registered process is of no place.
func TestUnknown(t *testing.T) {
	n, addr := newNetwork(t)
	n.Forget(os.Getpid())
	n.Break("a", "b", Rule{Cut: true})
	n.Break(Unknown, "b", Rule{Delay: time.Millisecond})
	if got, err := ask(addr, "x", long); got != "x" {
		t.Errorf("%q (%v)", got, err)
	}
}
