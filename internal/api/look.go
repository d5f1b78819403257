package api

import "time"

// looks are how a watch makes sure that it still hears of everything, and may hear it: every
// WatchLook, however much there is to send in between.
type looks struct {
	rd   *read
	next time.Time
}

func (rd *read) beginLooks() *looks {
	return &looks{rd, rd.s.opt.Seam.Now().Add(rd.s.opt.WatchLook)}
}

// timer sends when the next look is due.
func (l *looks) timer() (due <-chan time.Time, stop func()) {
	return l.rd.s.opt.Seam.Timer(max(0, l.next.Sub(l.rd.s.opt.Seam.Now())))
}

// look says, once it is due, whether who watches may not do so any more, or the lanes are
// elsewhere: then errResync.
func (l *looks) look(f *feed) error {
	now := l.rd.s.opt.Seam.Now()
	if now.Before(l.next) {
		return nil
	}
	l.next = now.Add(l.rd.s.opt.WatchLook)
	if err := l.rd.allowed(); err != nil {
		return err
	}
	if !f.same() {
		return errResync
	}
	return nil
}
