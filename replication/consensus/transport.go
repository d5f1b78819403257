package consensus

import (
	"cmp"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/replication/ownership"
)

const (
	connPool = 3    // idle connections to one node
	hintsMax = 1024 // nodes whose address was heard outside the log
)

// transport is Raft's, over TCP or TLS, with what it gets wrong for us put right: no fast path for
// heartbeats, no overlapping requests, and connections that say which node they are for.
type transport struct {
	net    *raft.NetworkTransport
	stream *stream
	rpcs   chan raft.RPC
	done   chan struct{}
	once   sync.Once
	addrs  *addresses
	reach  *reach
	handed atomic.Bool // a leader has handed over to this node
}

func newTransport(c Config, addrs *addresses, group func() (ownership.Recovery, bool), log hclog.Logger) *transport {
	s := newStream(c, group)
	t := &transport{
		net: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Logger: log, Stream: s, MaxPool: connPool, MaxRPCsInFlight: 1, Timeout: c.Timing.RPC,
		}),
		stream: s,
		rpcs:   make(chan raft.RPC),
		done:   make(chan struct{}),
		addrs:  addrs,
		reach:  newReach(c.Seam),
	}
	go t.forward()
	return t
}

// forward passes on what other nodes ask. It is here, and not left to the network transport, so
// that stand can put a request of its own beside them.
func (t *transport) forward() {
	for {
		select {
		case rpc := <-t.net.Consumer():
			if _, ok := rpc.Command.(*raft.TimeoutNowRequest); ok {
				t.handed.Store(true)
			}
			select {
			case t.rpcs <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// stand makes this node a candidate at once, as the request does by which a leader hands over.
func (t *transport) stand(id string) {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(t.LocalAddr())}
	rpc := raft.RPC{
		Command:  &raft.TimeoutNowRequest{RPCHeader: header},
		RespChan: make(chan raft.RPCResponse, 1),
	}
	select {
	case t.rpcs <- rpc:
	case <-t.done:
	}
}

func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// SetHeartbeatHandler does nothing: heartbeats wait in the queue with the rest.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

func (t *transport) LocalAddr() raft.ServerAddress { return t.net.LocalAddr() }

// EncodePeer is the address that the others are told; no node id in it.
func (t *transport) EncodePeer(id raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(t.addrs.of(string(id), string(addr)))
}

func (t *transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t *transport) AppendEntries(
	id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse,
) error {
	heartbeat := isHeartbeat(req)
	if !heartbeat {
		if err := t.reach.wait(id); err != nil {
			return err
		}
	}
	err := t.net.AppendEntries(id, t.target(id, addr), req, resp)
	t.reach.note(id, heartbeat, err)
	return err
}

func (t *transport) RequestVote(
	id raft.ServerID, addr raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse,
) error {
	return t.net.RequestVote(id, t.target(id, addr), req, resp)
}

func (t *transport) RequestPreVote(
	id raft.ServerID, addr raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse,
) error {
	return t.net.RequestPreVote(id, t.target(id, addr), req, resp)
}

func (t *transport) InstallSnapshot(
	id raft.ServerID, addr raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse,
	data io.Reader,
) error {
	if err := t.reach.wait(id); err != nil {
		return err
	}
	err := t.net.InstallSnapshot(id, t.target(id, addr), req, resp, data)
	t.reach.note(id, false, err)
	return err
}

func (t *transport) TimeoutNow(
	id raft.ServerID, addr raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse,
) error {
	return t.net.TimeoutNow(id, t.target(id, addr), req, resp)
}

// target is how the stream is told both whom to reach and where: "id@address".
func (t *transport) target(id raft.ServerID, addr raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(joinTarget(string(id), t.addrs.of(string(id), string(addr))))
}

func joinTarget(id, addr string) string { return id + "@" + addr }

func splitTarget(target string) (id, addr string) {
	id, addr, _ = strings.Cut(target, "@")
	return id, addr
}

// lastPlace is the address that Raft's configuration has for a node, be it one that has passed to
// another: see Raft.vacate.
func lastPlace(word string) string {
	if _, addr := splitTarget(word); addr != "" {
		return addr
	}
	return word
}

// close ends everything: what this node asks and what it is asked.
func (t *transport) close() {
	t.once.Do(func() {
		close(t.done)
		t.reach.end()
		t.net.Close()
		t.net.CloseStreams()
		t.stream.closeConns()
	})
}

// addresses knows where each node is. The address in Raft's own configuration is the oldest word on
// it; the members of the state are newer; and a hint, heard from the node itself, is newer still
// until the state says something that it did not say when the hint came.
type addresses struct {
	state func() *ownership.State
	self  string
	addr  string

	mu    sync.Mutex
	hints map[string]hint
}

// hint is an address that was heard, and what the state said of the node then: where it was, and in
// which life. A node that moves and comes back is in another one.
type hint struct {
	addr    string
	instead place
}

type place struct{ addr, incarnation string }

func (a *addresses) of(id, fallback string) string {
	if id == a.self {
		return a.addr
	}
	known := a.member(id)
	a.mu.Lock()
	h, ok := a.hints[id]
	a.mu.Unlock()
	if ok && h.instead == known {
		return h.addr
	}
	return cmp.Or(known.addr, lastPlace(fallback))
}

func (a *addresses) member(id string) place {
	if m := a.state().Members[id]; m != nil {
		return place{m.Addr, m.Incarnation}
	}
	return place{}
}

func (a *addresses) hint(id, addr string) {
	known := a.member(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.hints) >= hintsMax {
		clear(a.hints)
	}
	a.hints[id] = hint{addr: addr, instead: known}
}
