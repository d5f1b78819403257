package api

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// pace is how fast the reader of a scan must be: it holds one of a few places, and a snapshot of
// every store. Only the time that writes take is counted, which is when they wait for the reader.
type pace struct {
	least  int64 // bytes a second
	window time.Duration
	spent  time.Duration // in this window
	taken  int64
}

// add counts a write. It fails at the end of a window in which too little was taken.
func (p *pace) add(n int, took time.Duration) error {
	p.spent, p.taken = p.spent+took, p.taken+int64(n)
	if p.spent < p.window {
		return nil
	}
	spent, taken := p.spent, p.taken
	p.spent, p.taken = 0, 0
	rate := float64(taken) / spent.Seconds()
	if rate >= float64(p.least) {
		return nil
	}
	return &Error{Status: http.StatusRequestTimeout, Code: CodeTooSlow,
		Message: fmt.Sprintf("too slow a reader: it took %.0f bytes a second in %s, and who holds one of the few places for scans must take %d",
			rate, spent.Round(time.Millisecond), p.least),
		Next: "ask again and read faster, for example into a file"}
}

// tooSlow is the error of a write whose reader has taken nothing of it in its time; others are as
// they were. Nobody gets it as an answer: it is for the log.
func (d *deadlineWriter) tooSlow(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return &Error{Status: http.StatusRequestTimeout, Code: CodeTooSlow,
		Message: fmt.Sprintf("too slow a reader: it took nothing for %s", d.timeout)}
}

// hurry makes the reader of what is written to w keep up, until calm is called.
func (s *Server) hurry(w http.ResponseWriter) (calm func()) {
	dw, ok := w.(*deadlineWriter)
	if !ok {
		return func() {}
	}
	dw.pace = &pace{least: s.opt.ScanRateMin, window: s.opt.ScanRateWindow}
	return func() { dw.pace = nil }
}
