package seldom

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Every is how often one kind is logged, at most.
const Every = 10 * time.Second

// Log writes to another log, and that seldom. It may be used from many goroutines.
type Log struct {
	seam seam.Seam
	log  *slog.Logger

	mu    sync.Mutex
	kinds map[string]*kind
}

type kind struct {
	said    time.Time
	leftOut int // since then
}

// New writes to log, by the seam's clock.
func New(sm seam.Seam, log *slog.Logger) *Log {
	return &Log{seam: sm, log: log, kinds: map[string]*kind{}}
}

// Say writes a line, unless there was one of its kind in the last Every. It asks for args only if
// it does, and adds how many were left out since the line before.
func (l *Log) Say(level slog.Level, of, line string, args func() []any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	leftOut, due := l.due(of)
	if !due {
		return
	}
	all := args()
	if leftOut > 0 {
		all = append(all, "left_out", leftOut)
	}
	l.log.Log(ctx, level, line, all...)
}

func (l *Log) due(of string) (leftOut int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.seam.Now()
	k, known := l.kinds[of]
	if known && now.Sub(k.said) < Every {
		k.leftOut++
		return 0, false
	}
	if known {
		leftOut = k.leftOut
	}
	l.kinds[of] = &kind{said: now}
	return leftOut, true
}
