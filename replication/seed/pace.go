package seed

import (
	"context"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Pace bounds the bytes a second of all that share it.
type Pace struct {
	seam seam.Seam
	rate int64

	mu   sync.Mutex
	next time.Time // when what was let through so far has had its time
}

// NewPace makes a pace of so many bytes a second.
func NewPace(s seam.Seam, rate int64) *Pace {
	if rate <= 0 {
		panic("seed: a pace of nothing a second")
	}
	return &Pace{seam: s, rate: rate}
}

// wait waits until n bytes more may pass.
func (p *Pace) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	now := p.seam.Now()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = at.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	p.mu.Unlock()
	return p.seam.Sleep(ctx, at.Sub(now))
}
