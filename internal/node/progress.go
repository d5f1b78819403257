package node

import (
	"fmt"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication"
)

// sayEvery is the pause between two log lines of a restore, and how long one must take to be shown.
const sayEvery = time.Second

// meter shows how a lane's restore goes on: a bar on a terminal, log lines elsewhere.
type meter struct {
	bar  *mpb.Bar
	said time.Duration
}

// restoring is called as the playback goes on.
func (l *lane) restoring(p replication.Progress) {
	l.mu.Lock()
	l.status.restore = &api.Restore{FromOffset: p.From, ToOffset: p.To, Records: p.Records, Ms: p.Elapsed.Milliseconds()}
	if !l.loaded {
		l.status.reason = fmt.Sprintf("%d records, offset %d of %d", p.Records, p.At, p.To)
	}
	l.mu.Unlock()
	if p.Elapsed-l.meter.said < sayEvery && p.At <= p.To {
		return
	}
	if l.app.node.bars != nil {
		l.drawBar(p)
	} else if p.At <= p.To {
		rate, left := speed(p)
		l.log().Info("restoring", "records", p.Records, "records_per_s", int64(rate), "left", left.Round(time.Second))
	}
	l.meter.said = p.Elapsed
}

// speed is the rate in records a second and the time that the rest takes at it.
func speed(p replication.Progress) (rate float64, left time.Duration) {
	seconds := p.Elapsed.Seconds()
	if seconds == 0 || p.At <= p.From {
		return 0, 0
	}
	rate = float64(p.Records) / seconds
	return rate, time.Duration(seconds / float64(p.At-p.From) * float64(max(p.To-p.At, 0)) * float64(time.Second))
}

func (l *lane) drawBar(p replication.Progress) {
	if l.meter.bar == nil {
		if p.Elapsed < sayEvery {
			return // too short to be worth a bar
		}
		l.meter.bar = l.newBar(p)
	}
	l.meter.bar.SetCurrent(p.At - p.From)
	if p.At > p.To {
		l.meter.bar.SetTotal(-1, true)
		l.meter.bar = nil
	}
}

func (l *lane) newBar(p replication.Progress) *mpb.Bar {
	last := func() replication.Progress {
		l.mu.Lock()
		defer l.mu.Unlock()
		r := l.status.restore
		return replication.Progress{Records: r.Records, Elapsed: time.Duration(r.Ms) * time.Millisecond}
	}
	return l.app.node.bars.AddBar(p.To-p.From,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("restore %s lane %d ", l.app.name(), l.k))),
		mpb.AppendDecorators(
			decor.Percentage(),
			decor.Any(func(decor.Statistics) string {
				p := last()
				return fmt.Sprintf("  %d records  %.0f/s  ", p.Records, float64(p.Records)/max(p.Elapsed.Seconds(), 1e-3))
			}),
			decor.AverageETA(decor.ET_STYLE_GO),
		))
}
