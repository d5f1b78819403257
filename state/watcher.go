package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// watcher is what Pebble reports to: its logger, and the events that the store must know.
//
// Pebble calls it with its own lock held, so it only notes what happened.
type watcher struct {
	log *slog.Logger
	dir string

	once   sync.Once
	failed chan struct{} // closed at the first background error
	err    error         // of it; read after failed is closed

	worked chan struct{} // holds one token when a flush or a compaction ended

	flushes, compactions, stalls atomic.Int64
}

func newWatcher(log *slog.Logger, dir string) *watcher {
	return &watcher{
		log: log, dir: dir,
		failed: make(chan struct{}),
		worked: make(chan struct{}, 1),
	}
}

// failure is the first error of the disk or of Pebble's background work. It stays: whoever owns the
// store opens it anew when the cause is gone.
func (w *watcher) failure() error {
	select {
	case <-w.failed:
		return w.err
	default:
		return nil
	}
}

func (w *watcher) fail(err error) {
	w.once.Do(func() {
		w.err = classify(w.dir, err)
		w.log.Error("state: background work failed", "dir", w.dir, "err", w.err)
		close(w.failed)
	})
}

func (w *watcher) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: w.fail,
		DataCorruption:  func(i pebble.DataCorruptionInfo) { w.fail(damaged(w.dir, errors.New(i.String()))) },
		FlushEnd: func(i pebble.FlushInfo) {
			if len(i.Output) > 0 {
				w.flushes.Add(1)
			}
			w.hasWorked()
		},
		CompactionEnd: func(pebble.CompactionInfo) {
			w.compactions.Add(1)
			w.hasWorked()
		},
	}
}

func (w *watcher) hasWorked() {
	select {
	case w.worked <- struct{}{}:
	default:
	}
}

// Infof implements pebble.Logger.
func (w *watcher) Infof(format string, args ...any) {
	if w.log.Enabled(context.Background(), slog.LevelDebug) {
		w.log.Debug("pebble: "+strings.TrimSpace(fmt.Sprintf(format, args...)), "dir", w.dir)
	}
}

// Errorf implements pebble.Logger.
func (w *watcher) Errorf(format string, args ...any) {
	w.log.Error("pebble: "+strings.TrimSpace(fmt.Sprintf(format, args...)), "dir", w.dir)
}

// Fatalf implements pebble.Logger. Pebble cannot go on after it. It is a fault in its logic: what
// the disk refuses is kept from it by the brake.
func (w *watcher) Fatalf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	w.log.Error("pebble: fatal: "+msg, "dir", w.dir)
	panic(fmt.Sprintf("state: Pebble cannot go on with %s: %s", w.dir, msg))
}
