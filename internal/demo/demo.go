package demo

import (
	"context"
	"io"

	"github.com/tally-kafka/tally/internal/seam"
)

// Options says how to run the demo.
type Options struct {
	// Binary is the tally executable that broker, node and producer are started from.
	Binary string
	// Dir holds the data; empty means a new temporary directory, removed at the end unless Keep.
	Dir string
	// Keep leaves broker and node running and prints three commands to try.
	Keep bool
	// Out gets the show, Err what goes wrong on the way.
	Out, Err io.Writer
	// TTY says that Out is a terminal, so that the top counts are drawn in place.
	TTY bool
	// Seam gives time and dials.
	Seam seam.Seam
}

// DifferenceError says that a count or an output is not what was sent.
type DifferenceError struct {
	Differences []string
}

func (e *DifferenceError) Error() string { panic("demo: written next") }

// Run runs the demo to its end; nil means that every count and output was exact.
func Run(ctx context.Context, opt Options) error { panic("demo: written next") }
