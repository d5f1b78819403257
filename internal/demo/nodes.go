package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tally-kafka/tally/internal/api"
)

// preferredAddr is where the other commands look for a node when nothing is said.
const preferredAddr = "127.0.0.1:7400"

// node is one of the three, through all its starts.
type node struct {
	name, addr string
	client     *api.Client

	mu sync.Mutex
	p  *process // of the last start
}

func (n *node) url() string { return "http://" + n.addr }

func (n *node) now() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.p
}

func (n *node) runs() bool {
	p := n.now()
	return p != nil && !p.ended()
}

// startNodes starts all three at once: they find each other, and form a cluster.
func (s *show) startNodes(ctx context.Context) error {
	first := s.opt.Listen
	if first == "" {
		first = preferredAddr
	}
	addrs, err := freeAddrs(first, 3)
	if err != nil {
		return err
	}
	for i, addr := range addrs {
		n := &node{name: string(rune('a' + i)), addr: addr}
		if n.client, err = api.NewClient(n.url(), s.opt.Seam); err != nil {
			return err
		}
		s.nodes = append(s.nodes, n)
	}
	began := s.opt.Seam.Now()
	for _, n := range s.nodes {
		if err := s.startNode(n); err != nil {
			return err
		}
	}
	err = s.awaitStatus(ctx, "the nodes to form a cluster", func(st api.Status) bool {
		return st.Leader != "" && alive(st) == len(s.nodes)
	})
	if err != nil {
		return err
	}
	var urls []string
	for _, n := range s.nodes {
		urls = append(urls, n.url())
	}
	s.view.say("three nodes of one cluster, %d ms after their start: a, b and c at %s", s.opt.Seam.Since(began).Milliseconds(),
		strings.Join(urls, ", "))
	return nil
}

// startNode starts a node with its own data dir, the first time or again.
func (s *show) startNode(n *node) error {
	var join []string
	for _, n := range s.nodes {
		join = append(join, n.addr)
	}
	args := append([]string{"run", "--node", n.name, "--listen", n.addr, "--join", strings.Join(join, ","),
		"--data-dir", filepath.Join(s.dir, n.name), "--create-topics", "4", "--memory", "64MB"}, s.kafkaFlags()...)
	p, err := s.start("node-"+n.name, nil, args...)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.p = p
	return nil
}

// ask is a node that runs; the first one when none does.
func (s *show) ask() *node {
	if i := slices.IndexFunc(s.nodes, (*node).runs); i >= 0 {
		return s.nodes[i]
	}
	return s.nodes[0]
}

// status is that of the cluster, of which every node knows all, with the app in it.
func (s *show) status(ctx context.Context) (api.Status, error) {
	st, err := s.ask().client.Status(ctx)
	if err == nil && len(st.Apps) == 0 {
		err = errors.New("the app does not run yet")
	}
	return st, err
}

// awaitStatus waits until the cluster is as it is wanted to be.
func (s *show) awaitStatus(ctx context.Context, what string, good func(api.Status) bool) error {
	return s.await(ctx, s.ask().now(), what, func() (bool, error) {
		st, err := s.ask().client.Status(ctx)
		return err == nil && good(st), nil
	})
}

// awaitHealthy waits until every lane runs, has a standby that follows, and stays where it is.
func (s *show) awaitHealthy(ctx context.Context, what string) (healthy api.Status, err error) {
	err = s.awaitStatus(ctx, what, func(st api.Status) bool {
		healthy = st
		if alive(st) != len(s.nodes) || len(st.Apps) == 0 || len(st.Apps[0].Lanes) == 0 {
			return false
		}
		for _, n := range st.Nodes {
			if n.Lanes == 0 {
				return false // its share is still on the way
			}
		}
		return !slices.ContainsFunc(st.Apps[0].Lanes, unsettled)
	})
	return healthy, err
}

func unsettled(l api.LaneStatus) bool {
	return l.State != api.LaneRunning || l.From != "" || l.Target != "" ||
		!slices.ContainsFunc(l.Copies, func(c api.CopyStatus) bool { return c.Ready })
}

func alive(st api.Status) (n int) {
	for _, of := range st.Nodes {
		if of.Alive {
			n++
		}
	}
	return n
}

// awaitCounted waits until everything that was sent is counted.
func (s *show) awaitCounted(ctx context.Context) error {
	return s.awaitStatus(ctx, "the last events to be counted", func(st api.Status) bool {
		return len(st.Apps) > 0 && st.Apps[0].Lag == 0 && st.Apps[0].Processed >= int64(s.opt.Events)
	})
}

// placement says of each node which lanes it owns and which it has a copy of, in a line that fits a
// narrow terminal.
func placement(st api.Status, nodes []*node) []string {
	var lines []string
	for _, n := range nodes {
		line := fmt.Sprintf("node %s  pid %-7d ", n.name, n.now().pid())
		at := slices.IndexFunc(st.Nodes, func(of api.NodeStatus) bool { return of.Name == n.name })
		switch {
		case at < 0 || !st.Nodes[at].Alive:
			line += "is down"
		default:
			owns, copies := lanesOf(st, n.name)
			line += fmt.Sprintf("owns %s, follows %s", lanesText(owns), lanesText(copies))
			if st.Leader == n.name {
				line += "  (leads the cluster)"
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// lanesOf are the lanes that a node owns, and those that it has a copy of.
func lanesOf(st api.Status, name string) (owns, copies []int) {
	if len(st.Apps) == 0 {
		return nil, nil
	}
	for _, l := range st.Apps[0].Lanes {
		if l.Owner == name {
			owns = append(owns, l.Lane)
		}
		if slices.Contains(l.Standbys, name) {
			copies = append(copies, l.Lane)
		}
	}
	return owns, copies
}

func lanesText(lanes []int) string {
	switch len(lanes) {
	case 0:
		return "no lane"
	case 1:
		return fmt.Sprintf("lane %d", lanes[0])
	}
	texts := make([]string, len(lanes))
	for i, l := range lanes {
		texts[i] = fmt.Sprint(l)
	}
	return "lanes " + strings.Join(texts, ", ")
}

// freeAddrs are n loopback addresses at which nobody listens, the first one as asked for where it
// is free.
func freeAddrs(first string, n int) ([]string, error) {
	var addrs []string
	for len(addrs) < n {
		l, err := net.Listen("tcp", first)
		if err != nil && first != "127.0.0.1:0" {
			first = "127.0.0.1:0"
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find free ports on 127.0.0.1 for the nodes: %w", err)
		}
		defer l.Close() // only at the end: else one port is found twice
		addrs = append(addrs, l.Addr().String())
		first = "127.0.0.1:0"
	}
	return addrs, nil
}
