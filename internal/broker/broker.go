package broker

import (
	"context"
	"log/slog"

	"github.com/tally-kafka/tally/internal/seam"
)

// MainOptions are those of the broker's own process.
type MainOptions struct {
	DataDir string // the node's data dir; the broker's files are in broker/ below it
	Port    int    // 0: the stored one, or any
	Keep    bool   // does not end when its last node is gone
	Seam    seam.Seam
	Log     *slog.Logger
}

// Main is what `tally broker` runs; it returns when ctx ends or, without Keep, a minute after the
// last node is gone.
func Main(ctx context.Context, opt MainOptions) error { panic("not yet") }

// Options are those of a node that wants a broker.
type Options struct {
	DataDir string
	Command []string // starts the broker; nil: this binary with `broker --data-dir DIR`
	Seam    seam.Seam
	Log     *slog.Logger
}

// Running is a broker that answers.
type Running struct {
	Addr      string
	PID       int
	ClusterID string
	Started   bool     // by this call
	Warnings  []string // what it found at its start: an unclean end, half transactions
}

// Ensure finds the running broker of a data dir, or starts it, and waits until it answers.
func Ensure(ctx context.Context, opt Options) (*Running, error) { panic("not yet") }

// Release lets go of the broker: it ends by itself a minute after the last node has let go.
func (r *Running) Release() { panic("not yet") }

// Stop ends the broker of a data dir, if one runs, and waits until it is gone.
func Stop(ctx context.Context, dataDir string, s seam.Seam) error { panic("not yet") }
