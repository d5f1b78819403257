package testkafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options say what cluster a test wants. The zero value is one plain node.
type Options struct {
	Nodes   int               // 1 (the default) or 3
	Props   map[string]string // further server.properties, which win over ours
	SASLSSL bool              // adds a SASL_SSL listener: Secure, CA, ClientProperties
	Proxy   bool              // adds a listener behind a Proxy for each node: ProxyAddrs, Proxy
	Quorum  bool              // puts a Proxy in front of each controller: Part, Join
	JVM     []string          // further options of the brokers' JVMs, which win over ours
	Port    int               // node 1 listens here, further nodes on the next ports; 0 = any
	Route   Route             // gives the nodes other addresses than their own
	// OnStart is called with a node's JVM at each of its starts, before it can have connected to
	// anything.
	OnStart func(id, pid int)
}

// Route gives the address at which others shall reach what listens at target: one of a node's
// listeners, for the clients of ProxyAddrs, for the other nodes' replication, or for their
// controllers. The plain listener of Addrs stays as it is.
type Route func(id int, listener Listener, target string) (addr string, err error)

// Listener is what of a node is reached.
type Listener string

// What of a node is routed.
const (
	ForClients     Listener = "clients" // only with Options.Proxy, in front of which it is
	ForBrokers     Listener = "brokers"
	ForControllers Listener = "controllers"
)

// Cluster is a running Apache Kafka. Nodes are named by their Kafka ids, 1 to N. Its methods may be
// called from several goroutines, but not for the same node at once.
type Cluster struct {
	opt  Options
	id   string // Kafka's cluster id
	dir  string
	jars string
	// classes is the archive of classes that the JVMs use, "" for none.
	classes string
	nodes   []*node
	tls     *authority
}

type node struct {
	id, port, controller, secure, proxied, brokers int

	routed map[Listener]string // where a Route has the others go
	dir    string
	proxy  *Proxy
	quorum *Proxy   // in front of the controller
	run    *process // nil before the first start
}

func (n *node) data() string { return filepath.Join(n.dir, "data") }

// Start runs a cluster for one test. Where there is no JDK or Maven the test is skipped, except on
// CI, where nothing may be left out silently.
func Start(t testing.TB, opt Options) *Cluster {
	t.Helper()
	c, err := Launch(opt)
	if errors.Is(err, errNoTools) && os.Getenv("CI") == "" {
		t.Skipf("left out, it needs a real Kafka: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// shared is the one broker of this test process. It is package state on purpose: the kernel ends
// the JVM with the process, and the next Launch of anybody removes its files.
var shared = sync.OnceValues(func() (*Cluster, error) { return Launch(Options{}) })

// Shared returns a one-node cluster that all tests of this process use: they must not kill or stop
// it, and must use names of their own for topics, groups and transactional ids.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	c, err := shared()
	if errors.Is(err, errNoTools) && os.Getenv("CI") == "" {
		t.Skipf("left out, it needs a real Kafka: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Launch starts a cluster and waits until it is ready. A port that somebody took in between costs a
// second try with other ports.
func Launch(opt Options) (*Cluster, error) {
	if opt.Nodes == 0 {
		opt.Nodes = 1
	}
	lib, err := jars()
	if err != nil {
		return nil, err
	}
	classes, err := archive(lib)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		c, err := launch(opt, lib, classes)
		if err == nil {
			return c, nil
		}
		c.Close()
		if try == 3 || opt.Port != 0 || !strings.Contains(err.Error(), "Address already in use") {
			return nil, err
		}
	}
}

// launch always returns a cluster that Close can take away.
func launch(opt Options, lib, classes string) (*Cluster, error) {
	c := &Cluster{opt: opt, jars: lib, classes: classes, id: newUUID()}
	if err := c.prepare(); err != nil {
		return c, err
	}
	if err := c.format(); err != nil {
		return c, err
	}
	for _, n := range c.nodes {
		if err := c.start(n); err != nil {
			return c, err
		}
	}
	return c, c.awaitReady(context.Background(), c.nodes)
}

// prepare makes directories, ports, proxies and certificates.
func (c *Cluster) prepare() (err error) {
	if c.dir, err = newRunDir(); err != nil {
		return err
	}
	if c.opt.SASLSSL {
		if c.tls, err = newAuthority(); err != nil {
			return err
		}
		if err := c.tls.write(c.dir); err != nil {
			return err
		}
	}
	for id := 1; id <= c.opt.Nodes; id++ {
		n, err := c.newNode(id)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return os.WriteFile(filepath.Join(c.dir, "log4j2.xml"), []byte(logConfig), 0o600)
}

func (c *Cluster) newNode(id int) (*node, error) {
	n := &node{id: id, dir: filepath.Join(c.dir, fmt.Sprintf("node-%d", id))}
	for _, p := range []*int{&n.port, &n.controller, &n.secure, &n.proxied, &n.brokers} {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		*p = port
	}
	if c.opt.Port != 0 {
		n.port = c.opt.Port + id - 1
	}
	if c.opt.Proxy {
		p, err := NewProxy(fmt.Sprintf("127.0.0.1:%d", n.proxied))
		if err != nil {
			return nil, err
		}
		n.proxy = p
	}
	if c.opt.Quorum {
		p, err := NewProxy(fmt.Sprintf("127.0.0.1:%d", n.controller))
		if err != nil {
			return nil, err
		}
		n.quorum = p
	}
	if err := c.route(n); err != nil {
		return nil, err
	}
	return n, os.MkdirAll(n.data(), 0o755)
}

// route asks Options.Route for the node's addresses.
func (c *Cluster) route(n *node) error {
	if c.opt.Route == nil {
		return nil
	}
	targets := map[Listener]string{
		ForBrokers:     fmt.Sprintf("127.0.0.1:%d", n.brokers),
		ForControllers: fmt.Sprintf("127.0.0.1:%d", n.controller),
	}
	if n.quorum != nil {
		targets[ForControllers] = n.quorum.Addr()
	}
	if n.proxy != nil {
		targets[ForClients] = n.proxy.Addr()
	}
	n.routed = map[Listener]string{}
	for l, target := range targets {
		addr, err := c.opt.Route(n.id, l, target)
		if err != nil {
			return err
		}
		n.routed[l] = addr
	}
	return nil
}

// controllerAddr is where the other controllers reach the node's.
func (n *node) controllerAddr() string {
	switch {
	case n.routed != nil:
		return n.routed[ForControllers]
	case n.quorum != nil:
		return n.quorum.Addr()
	}
	return fmt.Sprintf("127.0.0.1:%d", n.controller)
}

// clientAddr is where the clients of ProxyAddrs reach the node.
func (n *node) clientAddr() string {
	if n.routed != nil {
		return n.routed[ForClients]
	}
	return n.proxy.Addr()
}

// format writes the nodes' data directories, beside each other since a JVM takes its time.
func (c *Cluster) format() error {
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() { errs[i] = c.formatNode(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) formatNode(n *node) error {
	file := filepath.Join(n.dir, "server.properties")
	if err := os.WriteFile(file, []byte(c.properties(n)), 0o600); err != nil {
		return err
	}
	args := []string{"format", "-t", c.id, "-c", file}
	if c.opt.SASLSSL {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram",
				fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, Password))
		}
	}
	out, err := c.java(nil, "kafka.tools.StorageTool", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format Kafka node %d: %w\n%s", n.id, err, tail(out))
	}
	return nil
}

// java is a JVM that starts fast rather than runs fast, unless the options say otherwise. Its
// classpath names each jar, in one order, since the archive of classes is good for that one alone.
func (c *Cluster) java(options []string, class string, args ...string) *exec.Cmd {
	jars, _ := filepath.Glob(filepath.Join(c.jars, "*.jar"))
	jvm := []string{"-Xmx400m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dlog4j2.configurationFile=" + filepath.Join(c.dir, "log4j2.xml"),
		"-cp", strings.Join(jars, string(os.PathListSeparator))}
	if c.classes != "" {
		jvm = append(jvm, "-XX:SharedArchiveFile="+c.classes)
	}
	jvm = append(append(jvm, options...), class)
	return exec.Command("java", append(jvm, args...)...)
}

func (c *Cluster) start(n *node) error {
	out, err := os.OpenFile(c.Log(n.id), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := c.java(c.opt.JVM, "kafka.Kafka", filepath.Join(n.dir, "server.properties"))
	cmd.Stdout, cmd.Stderr = out, out
	if n.run, err = startProcess(cmd); err != nil {
		return fmt.Errorf("start Kafka node %d: %w", n.id, err)
	}
	if c.opt.OnStart != nil {
		c.opt.OnStart(n.id, c.PID(n.id))
	}
	return nil
}

// readyWait is far more than a start takes, even of three nodes on a machine that is busy with
// tests.
const readyWait = 3 * time.Minute

// awaitReady waits for the given nodes, and reports the log of one that died.
func (c *Cluster) awaitReady(ctx context.Context, nodes []*node) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		err := c.probe(ctx, nodes)
		if err == nil {
			return nil
		}
		for _, n := range nodes {
			if n.run.ended() {
				log, _ := os.ReadFile(c.Log(n.id))
				return fmt.Errorf("node %d of Kafka ended before it was ready\n%s", n.id, tail(log))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster was not ready in time: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// node finds a node by its Kafka id; another id is a mistake in the test.
func (c *Cluster) node(id int) *node {
	if id < 1 || id > len(c.nodes) {
		panic(fmt.Sprintf("testkafka: the cluster has nodes 1 to %d, not %d", len(c.nodes), id))
	}
	return c.nodes[id-1]
}

// Kill ends a node with SIGKILL.
func (c *Cluster) Kill(id int) { c.node(id).run.kill() }

// Term ends a node as an operator does, with SIGTERM, and waits until it is gone: it hands its
// leadership over first.
func (c *Cluster) Term(id int) {
	n := c.node(id)
	n.run.signal(syscall.SIGTERM)
	<-n.run.done
}

// Stop freezes a node with SIGSTOP: its connections stay open and nothing answers.
func (c *Cluster) Stop(id int) { c.node(id).run.freeze() }

// Cont lets a frozen node go on.
func (c *Cluster) Cont(id int) { c.node(id).run.signal(syscall.SIGCONT) }

// Part keeps a node from hearing of the others: what the controllers decide does not reach it, so
// that it goes on as it last knew, as the leader of partitions that others lead by now. Clients
// reach it as before. It needs Options.Quorum.
func (c *Cluster) Part(id int) {
	c.node(id).quorum.Cut()
	for _, n := range c.nodes {
		for _, client := range []string{fmt.Sprintf("raft-client-%d", id), fmt.Sprint(id)} {
			n.quorum.Fail(Fault{Key: AnyKey, Client: client, Do: DropRequest})
		}
	}
}

// Join ends Part.
func (c *Cluster) Join(id int) {
	c.node(id).quorum.Heal()
	for _, n := range c.nodes {
		n.quorum.Forgive()
	}
}

// Restart starts a node again on its data and ports, killing it first when it still runs, and waits
// until it is ready, or ctx ends. While the others are a majority it starts only when they have
// fenced what it was: see Bounce.
func (c *Cluster) Restart(ctx context.Context, id int) error {
	c.node(id).run.kill()
	if err := c.awaitFenced(ctx, id); err != nil {
		return err
	}
	return c.Bounce(ctx, id)
}

// Bounce is Restart at once, within the node's own session, as a service manager does. Kafka may
// tear a transaction then: what its log has as the last record of the transaction coordinator and
// no follower has fetched is believed when it starts, markers are sent for it, and when the session
// ends another coordinator leads, which never heard of it and may decide otherwise. Seen with Kafka
// 4.3.1; docs/proof.md tells it.
func (c *Cluster) Bounce(ctx context.Context, id int) error {
	n := c.node(id)
	n.run.kill()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.start(n); err != nil {
		return err
	}
	return c.awaitReady(ctx, []*node{n})
}

// Close kills all nodes and removes their files. It may be called twice.
func (c *Cluster) Close() {
	for _, n := range c.nodes {
		if n.run != nil {
			n.run.kill()
		}
		for _, p := range []*Proxy{n.proxy, n.quorum} {
			if p != nil {
				p.Close()
			}
		}
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir) // a leftover is removed by the next Launch
	}
}

// ID is Kafka's cluster id.
func (c *Cluster) ID() string { return c.id }

// Log is the path of a node's log.
func (c *Cluster) Log(id int) string { return filepath.Join(c.node(id).dir, "kafka.log") }

// PID is the process id of a node's JVM.
func (c *Cluster) PID(id int) int { return c.node(id).run.cmd.Process.Pid }

// Ended is closed when the JVM that a node runs now has ended, whoever ended it.
func (c *Cluster) Ended(id int) <-chan struct{} { return c.node(id).run.done }

// Addrs are the plain listeners of all nodes, never behind a proxy.
func (c *Cluster) Addrs() []string {
	return c.addrs(func(n *node) string { return fmt.Sprintf("127.0.0.1:%d", n.port) })
}

// ProxyAddrs are the proxies in front of all nodes: a client that starts there stays there.
func (c *Cluster) ProxyAddrs() []string {
	return c.addrs((*node).clientAddr)
}

// Secure are the SASL_SSL listeners of all nodes.
func (c *Cluster) Secure() []string {
	return c.addrs(func(n *node) string { return fmt.Sprintf("127.0.0.1:%d", n.secure) })
}

// Proxy is the proxy in front of a node.
func (c *Cluster) Proxy(id int) *Proxy { return c.node(id).proxy }

// CA is the PEM file of the authority that signed the brokers' certificates.
func (c *Cluster) CA() string { return filepath.Join(c.dir, "ca.pem") }

// ClientPEM is a PEM file with a private key and a certificate that the brokers accept.
func (c *Cluster) ClientPEM() string { return filepath.Join(c.dir, "client.pem") }

func (c *Cluster) addrs(of func(*node) string) []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, of(n))
	}
	return out
}

// newUUID is a random id as Kafka prints them.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[0] &= 0x7f // an id that begins with a dash would read as an option of StorageTool
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// newRunDir makes a directory for a cluster's files, and removes those of processes that are gone:
// a test process that was killed, or that used Shared, could not do it itself.
func newRunDir() (string, error) {
	root := filepath.Join(os.TempDir(), fmt.Sprintf("testkafka-%d", os.Getuid()))
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", err
	}
	old, err := os.ReadDir(root)
	if err != nil {
		return "", err
	}
	for _, e := range old {
		pid, _, _ := strings.Cut(e.Name(), "-")
		if n, err := strconv.Atoi(pid); err == nil && !alive(n) {
			_ = os.RemoveAll(filepath.Join(root, e.Name())) // another process may be doing the same
		}
	}
	return os.MkdirTemp(root, fmt.Sprintf("%d-", os.Getpid()))
}
