package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tally-kafka/tally/internal/seam"
)

const (
	logRepeat  = 10 * time.Second // between two lines of the same kind
	logKindMax = 256              // kinds that are remembered
)

// logBridge writes Raft's lines to the node's log, one level lower than Raft thinks of them (its
// warnings are of use to who looks for something, its infos to nobody else), and lines of one kind
// at most once in logRepeat: with a node down Raft says several times a second that it failed to
// contact it.
type logBridge struct {
	log  *slog.Logger
	seam seam.Seam

	mu   sync.Mutex
	last map[string]*logKind
}

type logKind struct {
	at      time.Time
	skipped int
}

func newLogger(log *slog.Logger, s seam.Seam) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(&logBridge{log: log, seam: s, last: map[string]*logKind{}})
	return l
}

// Accept takes one line of Raft's.
func (b *logBridge) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch {
	case level >= hclog.Error && endedInOrder(args):
	case level >= hclog.Error:
		to = slog.LevelWarn
	case level >= hclog.Warn:
		to = slog.LevelInfo
	}
	if !b.log.Enabled(context.Background(), to) {
		return
	}
	if to > slog.LevelDebug {
		skipped, ok := b.due(msg, args)
		if !ok {
			return
		}
		if skipped > 0 {
			args = append(args, "left_out", skipped)
		}
	}
	b.log.Log(context.Background(), to, "raft: "+msg, args...)
}

// endedInOrder tells of an error whether it is that of a connection which one of the two sides has
// closed: Raft calls that an error at each stop of a node.
func endedInOrder(args []any) bool {
	for _, a := range args {
		if err, is := a.(error); is {
			return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
		}
	}
	return false
}

// due reports whether a line of this kind may be written now, and how many were left out before it.
func (b *logBridge) due(msg string, args []any) (skipped int, ok bool) {
	kind := msg + peerOf(args)
	now := b.seam.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.last[kind]
	if k != nil && now.Sub(k.at) < logRepeat {
		k.skipped++
		return 0, false
	}
	if k == nil {
		if len(b.last) >= logKindMax {
			clear(b.last)
		}
		k = &logKind{}
		b.last[kind] = k
	}
	skipped = k.skipped
	*k = logKind{at: now}
	return skipped, true
}

// peerOf is the value of the argument that says which node a line is about.
func peerOf(args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "server-id", "target":
			return " " + fmt.Sprint(args[i+1])
		}
	}
	return ""
}
