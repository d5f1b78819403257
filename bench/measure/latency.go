package measure

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency matches each event with the first output that counts it: the n-th event of a group with
// the first count of n or more. It may be used from several goroutines.
type Latency struct {
	before  func(group string) int64
	mu      sync.Mutex
	waiting map[string]*queue
	open    int // events without their count yet
	from    time.Time
	hist    *hdrhistogram.Histogram
	bad     string // the first count that cannot be
	outputs int64  // since from
}

// queue holds the moments of a group's events that are not counted yet.
type queue struct {
	counted int64
	due     []time.Time
}

const longest = int64(10 * time.Minute / time.Microsecond)

// NewLatency records what RecordFrom says. before is how often a group was counted before its first
// event that is told here; nil: never.
func NewLatency(before func(group string) int64) *Latency {
	if before == nil {
		before = func(string) int64 { return 0 }
	}
	return &Latency{before: before, waiting: map[string]*queue{}, hist: hdrhistogram.New(1, longest, 3)}
}

// RecordFrom ends the warm-up, or what was recorded so far: later events are recorded, alone.
func (l *Latency) RecordFrom(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from, l.outputs = at, 0
	l.hist.Reset()
}

// Sent says that an event was due.
func (l *Latency) Sent(group string, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.waiting[group]
	if q == nil {
		q = &queue{counted: l.before(group)}
		l.waiting[group] = q
	}
	q.due = append(q.due, due)
	l.open++
}

// Seen says that a reader saw a group's count.
func (l *Latency) Seen(group string, count int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outputs++
	q := l.waiting[group]
	if q == nil || count > q.counted+int64(len(q.due)) {
		if l.bad == "" {
			l.bad = fmt.Sprintf("%q was counted to %d, which is more than was sent", group, count)
		}
		return
	}
	for q.counted < count {
		due := q.due[0]
		q.due = q.due[1:]
		q.counted++
		l.open--
		if !l.from.IsZero() && !due.Before(l.from) {
			_ = l.hist.RecordValue(min(max(int64(now.Sub(due)/time.Microsecond), 1), longest)) // within its bounds
		}
	}
}

// Open is how many events wait for their count.
func (l *Latency) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Result is what was recorded; wrong says what cannot be true of a right count, "" for nothing.
func (l *Latency) Result() (h *hdrhistogram.Histogram, outputs int64, wrong string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong = l.bad
	if wrong == "" && l.open > 0 {
		wrong = fmt.Sprintf("%d events were never counted", l.open)
	}
	return hdrhistogram.Import(l.hist.Export()), l.outputs, wrong
}
