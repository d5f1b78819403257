package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// heldListener accepts nothing before ready is closed: kfake would serve as soon as it has read its
// data, and the guards are put up after that. Who connects meanwhile waits.
type heldListener struct {
	net.Listener
	ready  <-chan struct{}
	close  sync.Once
	closed chan struct{}
}

func hold(l net.Listener, ready <-chan struct{}) *heldListener {
	return &heldListener{Listener: l, ready: ready, closed: make(chan struct{})}
}

func (l *heldListener) Accept() (net.Conn, error) {
	select {
	case <-l.ready:
		return l.Listener.Accept()
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *heldListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// brokerLog hands kfake's log to slog; its info is of every request and so is debug here. It keeps
// what says that something was not written, which kfake tells nobody but its log.
type brokerLog struct {
	to       *slog.Logger
	unmarked func(why string) // is told, before kfake answers, of a marker that was not written; nil: nobody
	mu       sync.Mutex
	last     string // "" for none
	warned   string // the last warning, which says why
}

// unmarkedText begins what kfake says of the end of a transaction that it could not write; a test
// holds it to that.
const unmarkedText = "endTx: failed to persist"

func (l *brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	at := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		at = slog.LevelError
	case kfake.LogLevelWarn:
		at = slog.LevelWarn
	}
	if level == kfake.LogLevelError || strings.HasPrefix(format, "rebuildSegments") {
		l.mu.Lock()
		l.last = fmt.Sprintf(format, args...)
		l.mu.Unlock()
	}
	if l.to.Enabled(context.Background(), at) {
		l.to.Log(context.Background(), at, fmt.Sprintf(format, args...))
	}
	switch {
	case level == kfake.LogLevelWarn:
		l.mu.Lock()
		l.warned = fmt.Sprintf(format, args...)
		l.mu.Unlock()
	case l.unmarked != nil && strings.HasPrefix(format, unmarkedText):
		l.unmarked(fmt.Sprintf(format, args...) + ": " + l.why())
	}
}

func (l *brokerLog) why() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warned
}

func (l *brokerLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = ""
}

// fault is what kfake could not write since the last reset.
func (l *brokerLog) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == "" {
		return nil
	}
	return errors.New("the embedded broker could not write its data: " + l.last)
}
