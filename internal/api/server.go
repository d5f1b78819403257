package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/seldom"
	"github.com/tally-kafka/tally/internal/token"
)

// Options are the server's surroundings and limits. Zero means the default.
type Options struct {
	Seam     seam.Seam // required
	Log      *slog.Logger
	Registry *prometheus.Registry // what /metrics shows; the node's own metrics may be in it too

	Cluster Cluster         // nil: every lane is this node's
	Control Control         // nil: the cluster cannot be changed through this server
	Calls   map[string]Call // of other nodes, by name
	Pieces  Pieces          // of checkpoints, for other nodes; nil: there are none

	// Tokens are people's; nil: whoever reaches the listener may ask and change everything, so it
	// must be on loopback. Hosts says of a name that it is this node's, besides those of loopback.
	Tokens *token.File
	Hosts  func(host string) bool
	// Trusts says whether a certificate that was a node's when its connection was made is one
	// still, with those that came behind it; nil: it stays one.
	Trusts func(peer []*x509.Certificate) bool

	BodyBytesMax int64         // of a request (1 MiB: more than the largest group)
	WaitDefault  time.Duration // how long a read waits for what it asks for (2 s)
	WaitMax      time.Duration // the longest wait that may be asked for (1 min)
	PollInterval time.Duration // between looks while waiting (5 ms)
	FreshWait    time.Duration // at most, for a fresh answer (500 ms); then it says its lag
	TopMax       int           // the largest n of a top (10,000); that many groups are held in memory
	TopBytesMax  int64         // of their groups (32 MiB); a top of more is refused
	ScansMax     int           // scans and tops at a time (4); each holds one snapshot a lane
	WatchesMax   int           // watches at a time (32)

	// Who reads a scan must take ScanRateMin bytes a second (64 KiB) over each ScanRateWindow (30
	// s) of the time that writes to it take.
	ScanRateMin    int64
	ScanRateWindow time.Duration

	// Of questions from other nodes; those wait for nobody else, so that two nodes never wait for
	// each other.
	NodeScansMax   int // (16)
	NodeWatchesMax int // (128)

	StatusWait       time.Duration // for the status of another node (1 s); then it is said to be missing
	ForwardSlack     time.Duration // for another node's answer, beyond the wait that is left (1 s)
	StaleTry         time.Duration // for a copy's answer, where a stale read may ask another one (250 ms)
	StreamStall      time.Duration // how long a node may send nothing in the middle of a stream (15 s)
	StreamLook       time.Duration // how long, once its lanes are another's (500 ms)
	ProveSlice       time.Duration // how long a node is asked to prove an absence before all are asked anew (100 ms)
	NodeWriteTimeout time.Duration // for each write to another node, which merges with others (5 min)

	WatchInterval  time.Duration // between the lines of one group in a watch (50 ms)
	WatchLook      time.Duration // how often a quiet watch looks whether the lanes are the same (1 s)
	WatchGroupsMax int           // changed groups that wait to be sent (65,536); more: all are sent again
	WatchBytesMax  int64         // of those with their values (8 MiB)

	BodyTimeout  time.Duration // for a request's body (10 s)
	WriteTimeout time.Duration // for each write: a reader that stops reading frees its snapshot (30 s)
}

func (o Options) withDefaults() Options {
	if o.Seam.Now == nil {
		panic("api: Options.Seam is not set")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	o.BodyBytesMax = orDefault(o.BodyBytesMax, 1<<20)
	o.WaitDefault = orDefault(o.WaitDefault, 2*time.Second)
	o.WaitMax = orDefault(o.WaitMax, time.Minute)
	o.PollInterval = orDefault(o.PollInterval, 5*time.Millisecond)
	o.FreshWait = orDefault(o.FreshWait, 500*time.Millisecond)
	o.TopMax = orDefault(o.TopMax, 10_000)
	o.TopBytesMax = orDefault(o.TopBytesMax, 32<<20)
	o.ScansMax = orDefault(o.ScansMax, 4)
	o.WatchesMax = orDefault(o.WatchesMax, 32)
	o.ScanRateMin = orDefault(o.ScanRateMin, 64<<10)
	o.ScanRateWindow = orDefault(o.ScanRateWindow, 30*time.Second)
	o.NodeScansMax = orDefault(o.NodeScansMax, 16)
	o.NodeWatchesMax = orDefault(o.NodeWatchesMax, 128)
	o.StatusWait = orDefault(o.StatusWait, time.Second)
	o.ForwardSlack = orDefault(o.ForwardSlack, time.Second)
	o.StaleTry = orDefault(o.StaleTry, 250*time.Millisecond)
	o.StreamStall = orDefault(o.StreamStall, 15*time.Second)
	o.StreamLook = orDefault(o.StreamLook, 500*time.Millisecond)
	o.ProveSlice = orDefault(o.ProveSlice, 100*time.Millisecond)
	o.NodeWriteTimeout = orDefault(o.NodeWriteTimeout, 5*time.Minute)
	o.WatchInterval = orDefault(o.WatchInterval, 50*time.Millisecond)
	o.WatchLook = orDefault(o.WatchLook, time.Second)
	o.WatchGroupsMax = orDefault(o.WatchGroupsMax, 65_536)
	o.WatchBytesMax = orDefault(o.WatchBytesMax, 8<<20)
	o.BodyTimeout = orDefault(o.BodyTimeout, 10*time.Second)
	o.WriteTimeout = orDefault(o.WriteTimeout, 30*time.Second)
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Server answers the HTTP requests of one node.
type Server struct {
	node Node
	opt  Options
	mux  *http.ServeMux
	http *http.Server
	// stopping ends every stream and every wait, so that Shutdown need not wait for them.
	stopping context.Context
	stop     context.CancelFunc
	scans    chan struct{} // a token a running scan or top
	watches  chan struct{}
	// The same of questions from other nodes.
	nodeScans, nodeWatches chan struct{}
	hints                  knownHints
	clocks                 clocks
	heads                  heads
	refused                *seldom.Log
	answerMax              int64 // of another node's answer that is no stream
}

// NewServer makes the server of a node; it serves after Serve, or as an http.Handler.
func NewServer(n Node, opt Options) *Server {
	opt = opt.withDefaults()
	s := &Server{
		node: n, opt: opt, mux: http.NewServeMux(), answerMax: answerBytesMax,
		scans: make(chan struct{}, opt.ScansMax), watches: make(chan struct{}, opt.WatchesMax),
		nodeScans: make(chan struct{}, opt.NodeScansMax), nodeWatches: make(chan struct{}, opt.NodeWatchesMax),
		refused: seldom.New(opt.Seam, opt.Log),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: opt.BodyTimeout,
		IdleTimeout:       2 * time.Minute,
		// Its answer to OPTIONS * would read a body without a deadline.
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               256 << 10, // a token has 15 bytes or so a partition
		ErrorLog:                     slog.NewLogLogger(opt.Log.Handler(), slog.LevelWarn),
		ConnContext:                  s.heads.follow,
		ConnState:                    s.follow,
	}
	opt.Registry.MustRegister(newCollector(n))
	s.routes()
	return s
}

// Serve answers on l until Shutdown; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP at %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown ends the streams and the waits, lets the other requests finish until ctx ends, and then
// closes what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	if errors.Is(err, ctx.Err()) {
		err = nil // somebody's request had not ended: that is no failure of this node's stop
	}
	return errors.Join(err, s.http.Close())
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
