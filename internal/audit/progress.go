package audit

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tally-kafka/tally/internal/seam"
)

// sayEvery is the pause between two lines of progress, and how long a part must take to be shown.
const sayEvery = 2 * time.Second

// meter shows how far the audit has read: a bar for each topic on a terminal, else lines.
type meter struct {
	out  io.Writer
	seam seam.Seam
	bars *mpb.Progress // nil: lines

	name        string
	done, total int64
	said        time.Time
	bar         *mpb.Bar
}

func newMeter(cfg Config) *meter {
	m := &meter{out: cfg.Progress, seam: cfg.Seam}
	if cfg.TTY {
		m.bars = mpb.New(mpb.WithOutput(cfg.Progress), mpb.WithWidth(60), mpb.WithAutoRefresh())
	}
	return m
}

// begin starts a part with that many offsets to read.
func (m *meter) begin(name string, total int64) {
	m.end()
	m.name, m.done, m.total, m.said = name, 0, total, m.seam.Now()
}

// add says that the part has come n offsets further.
func (m *meter) add(n int64) {
	const look = 1 << 10
	before := m.done
	if m.done += n; before/look == m.done/look || m.seam.Since(m.said) < sayEvery {
		return
	}
	m.said = m.seam.Now()
	if m.bars == nil {
		fmt.Fprintf(m.out, "audit: %s: %d of %d offsets\n", m.name, m.done, m.total)
		return
	}
	if m.bar == nil {
		m.bar = m.bars.AddBar(m.total, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name(m.name+" ")),
			mpb.AppendDecorators(decor.Percentage(), decor.CountersNoUnit("  %d of %d  "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	m.bar.SetCurrent(m.done)
}

func (m *meter) end() {
	if m.bar != nil {
		m.bar.Abort(true) // also of a part that was not finished: Wait would wait for it
		m.bar = nil
	}
}

func (m *meter) close() {
	m.end()
	if m.bars != nil {
		m.bars.Wait()
	}
}
