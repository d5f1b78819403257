package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// patience is how long a test waits for what must happen; it decides only how long a failure takes.
const patience = 30 * time.Second

var (
	quickRaft = consensus.Timing{Heartbeat: slow * 150 * time.Millisecond, Election: slow * 150 * time.Millisecond,
		Lease: slow * 100 * time.Millisecond, RPC: slow * 500 * time.Millisecond, Propose: slow * 2 * time.Second}
	quick = Timing{Ask: 20 * time.Millisecond, Answer: slow * 500 * time.Millisecond, Say: 200 * time.Millisecond,
		Retry: 20 * time.Millisecond, Propose: slow * 2 * time.Second, Voters: 20 * time.Millisecond,
		TTL: slow * 500 * time.Millisecond, Ping: 50 * time.Millisecond}
)

// eventually polls until check returns nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s still: %v", patience, err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// gate is one node's address. It shares connections out by their first byte, as the node's one port
// does. It is there before the node is, so that no other test gets the address; after the node was
// killed it refuses connections, as the address of a dead process does.
type gate struct {
	t    testing.TB
	addr string
	mu   sync.Mutex
	ln   net.Listener // nil: refused
	up   *ports       // nil: connections are closed at once
	out  []net.Conn   // that the node has opened for Raft and sessions
	cut  bool         // so are those that come while the node is cut off, and it opens none
}

type ports struct {
	raft, session, http *port
	mu                  sync.Mutex
	conns               []net.Conn
}

// port is a listener that is given its connections.
type port struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPort(addr net.Addr) *port {
	return &port{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *port) Addr() net.Addr { return p.addr }

// peeked is a connection whose first byte was looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

func newGate(t testing.TB) *gate {
	g := &gate{t: t, addr: "127.0.0.1:0"}
	g.listen()
	t.Cleanup(g.shut)
	return g
}

func (g *gate) listen() {
	eventually(g.t, func() error {
		ln, err := net.Listen("tcp", g.addr)
		if err != nil {
			return err
		}
		g.ln, g.addr = ln, ln.Addr().String()
		return nil
	})
	go func(ln net.Listener) {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go g.pass(conn)
		}
	}(g.ln)
}

func (g *gate) pass(conn net.Conn) {
	g.mu.Lock()
	up := g.up
	if g.cut {
		up = nil
	}
	g.mu.Unlock()
	if up == nil {
		conn.Close()
		return
	}
	up.mu.Lock()
	up.conns = append(up.conns, conn)
	up.mu.Unlock()
	r := bufio.NewReader(conn)
	kind, err := r.Peek(1)
	if err != nil {
		conn.Close()
		return
	}
	to := up.http
	if kind[0] == 'R' || kind[0] == 'S' {
		to = up.raft
		if kind[0] == 'S' {
			to = up.session
		}
		_, _ = r.Discard(1)
	}
	select {
	case to.conns <- peeked{conn, r}:
	case <-to.done:
		conn.Close()
	}
}

func (g *gate) open() *ports {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ln == nil {
		g.listen()
	}
	addr := g.ln.Addr()
	g.up = &ports{raft: newPort(addr), session: newPort(addr), http: newPort(addr)}
	return g.up
}

// shut drops all connections, and refuses new ones.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ln != nil {
		g.ln.Close()
		g.ln = nil
	}
	if g.up == nil {
		return
	}
	for _, p := range []*port{g.up.raft, g.up.session, g.up.http} {
		p.Close()
	}
	g.up.mu.Lock()
	defer g.up.mu.Unlock()
	for _, c := range g.up.conns {
		c.Close()
	}
	g.up = nil
}

// cutOff drops all that a node has open, and lets nothing in or out until it is undone.
func (g *gate) cutOff(yes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut = yes; !yes {
		return
	}
	for _, c := range append(g.out, g.up.taken()...) {
		c.Close()
	}
	g.out = nil
}

func (p *ports) taken() []net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.conns)
}

// isCut says that the node is cut off; nil: it is not.
func (g *gate) isCut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut {
		return errCut
	}
	return nil
}

var errCut = errors.New("the node is cut off")

// dialer opens connections that begin with one byte.
func (g *gate) dialer(kind string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		if err := g.isCut(); err != nil {
			return nil, err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		g.out = append(g.out, conn)
		g.mu.Unlock()
		_, err = io.WriteString(conn, kind)
		return conn, err
	}
}

// tnode is one node of a test; it can be started and killed again and again.
type tnode struct {
	*Cluster
	t      testing.TB
	gate   *gate
	conf   Config
	now    atomic.Pointer[Cluster]
	halted chan error
	wrap   func(Call) Call // nil: calls go as they are
	stop   func()
}

// refuse lets no call of the node's out for which why has an error.
func (n *tnode) refuse(why func(call string) error) {
	n.wrap = func(real Call) Call {
		return func(ctx context.Context, addr, call string, in, out any) error {
			if err := why(call); err != nil {
				return err
			}
			return real(ctx, addr, call, in, out)
		}
	}
}

func newNode(t testing.TB, name string, seeds ...string) *tnode {
	n := &tnode{t: t, gate: newGate(t), halted: make(chan error, 10)}
	s := seam.World()
	level := slog.LevelError
	if os.Getenv("TALLY_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level})).With("node", name)
	n.conf = Config{
		ID: s.NewID(), Name: name, Addr: n.gate.addr, Release: "test", Seeds: seeds, DataDir: t.TempDir(),
		DialRaft: n.gate.dialer("R"), DialSession: n.gate.dialer("S"),
		Halt:  func(err error) { n.halted <- err },
		Fence: func(context.Context, string, int) error { return nil },
		Seam:  s, Log: log, Timing: quick, Raft: quickRaft,
	}
	return n
}

// newNodes are nodes that all name each other.
func newNodes(t testing.TB, count int) []*tnode {
	var nodes []*tnode
	var seeds []string
	for i := range count {
		nodes = append(nodes, newNode(t, fmt.Sprint("n", i)))
		seeds = append(seeds, nodes[i].gate.addr)
	}
	for _, n := range nodes {
		n.conf.Seeds = seeds
	}
	return nodes
}

// try starts a new process of the node.
func (n *tnode) try() error {
	up := n.gate.open()
	client := &http.Client{Transport: &http.Transport{}}
	c := n.conf
	c.Incarnation = c.Seam.NewID()
	c.RaftListener, c.SessionListener = up.raft, up.session
	c.Call = caller(client)
	if n.wrap != nil {
		c.Call = n.wrap(c.Call)
	}
	cl, err := Start(n.t.Context(), c)
	if err != nil {
		n.gate.shut()
		return err
	}
	server := &http.Server{Handler: serve(cl.Calls())}
	go server.Serve(up.http)
	n.Cluster = cl
	n.now.Store(cl)
	n.stop = sync.OnceFunc(func() {
		n.gate.shut()
		server.Close()
		cl.Close()
		client.CloseIdleConnections()
	})
	n.t.Cleanup(n.stop)
	return nil
}

func (n *tnode) start() *tnode {
	n.t.Helper()
	if err := n.try(); err != nil {
		n.t.Fatalf("%s: %v", n.conf.Name, err)
	}
	return n
}

// in waits until the node is registered.
func (n *tnode) in() *tnode {
	n.t.Helper()
	if err := n.Wait(limit(n.t)); err != nil {
		n.t.Fatalf("%s: %v", n.conf.Name, err)
	}
	return n
}

// refused waits until the node gives up, and wants words of the reason.
func (n *tnode) refused(words ...string) {
	n.t.Helper()
	err := n.try()
	if err == nil {
		err = n.Wait(limit(n.t))
		defer n.stop()
	}
	if err == nil {
		n.t.Errorf("%s was let in", n.conf.Name)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			n.t.Errorf("%s is told %q, which does not say %q", n.conf.Name, err, w)
		}
	}
}

func serve(calls map[string]Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		call := calls[strings.TrimPrefix(r.URL.Path, "/v1/node/")]
		if err != nil || call == nil {
			http.Error(w, "no such call", http.StatusNotFound)
			return
		}
		out, err := call(r.Context(), body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(out)
	})
}

func caller(client *http.Client) Call {
	return func(ctx context.Context, addr, call string, in, out any) error {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/node/"+call, bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("%s: %s", resp.Status, text)
		}
		return json.NewDecoder(resp.Body).Decode(out)
	}
}

// leaderOf waits until all these nodes follow one of them.
func leaderOf(t testing.TB, nodes ...*tnode) (leader *tnode) {
	t.Helper()
	eventually(t, func() error {
		leader = nil
		for _, n := range nodes {
			if _, _, ok := n.raft.Leading(); ok {
				leader = n
			}
		}
		if leader == nil {
			return errors.New("no leader")
		}
		for _, n := range nodes {
			if id, _, _ := n.Leader(); id != leader.conf.ID {
				return fmt.Errorf("%s does not follow %s", n.conf.Name, leader.conf.Name)
			}
		}
		return nil
	})
	return leader
}

func others(nodes []*tnode, but *tnode) (rest []*tnode) {
	for _, n := range nodes {
		if n != but {
			rest = append(rest, n)
		}
	}
	return rest
}

// obey makes a node report that it does at once what it is granted.
func (n *tnode) obey() {
	n.conf.Report = func() (r session.Report) {
		cl := n.now.Load()
		if cl == nil { // it has just been started
			return r
		}
		for ref, l := range cl.State().Lanes() {
			c := session.Copy{LaneRef: ref, Role: session.Standby, Ready: true, Epoch: l.Epoch}
			switch m := cl.State().OwnerOf(l); {
			case m != nil && m.ID == n.conf.ID && cl.Registered():
				c.Role, c.Running = session.Owner, true
			case !slices.Contains(l.Standbys, n.conf.ID):
				continue
			}
			r.Copies = append(r.Copies, c)
		}
		return r
	}
}

// app is a command that a test can see the effect of. Its lanes are granted to nobody.
func app(name string) ownership.Command {
	return ownership.Command{PutApp: &ownership.PutApp{App: ownership.App{
		Name: name, Spec: "x", ID: "id", Halted: "a test", Generation: 1, Partitions: 1, Lanes: []ownership.Lane{{}},
	}}}
}

// inCluster starts nodes and waits until each is in.
func inCluster(nodes []*tnode) []*tnode {
	for _, n := range nodes {
		n.start()
	}
	for _, n := range nodes {
		n.in()
	}
	return nodes
}

// put must succeed from this node. A leader that dies with the proposal in its hand leaves open
// whether it was taken; the next one tells.
func (n *tnode) put(name string) {
	n.t.Helper()
	var unsure *consensus.UncertainError
	for open := false; ; open = true {
		result, err := n.Propose(limit(n.t), app(name))
		if errors.As(err, &unsure) {
			continue
		}
		if err != nil || result.Refused != "" && !(open && result.Code == ownership.Taken) {
			n.t.Fatalf("%s: %v %v", n.conf.Name, err, result)
		}
		return
	}
}

func (n *tnode) has(name string) {
	n.t.Helper()
	eventually(n.t, func() error {
		if n.State().Apps[name] == nil {
			return fmt.Errorf("%s has no app %s", n.conf.Name, name)
		}
		return nil
	})
}

// voters waits until so many nodes vote.
func (n *tnode) voters(want int) {
	n.t.Helper()
	eventually(n.t, func() error {
		got := 0
		for _, s := range n.raft.Servers() {
			if s.Voter {
				got++
			}
		}
		if got != want {
			return fmt.Errorf("%d voters, not %d", got, want)
		}
		return nil
	})
}
