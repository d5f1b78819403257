package api

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// heads knows of each connection whether a request has begun on it that no handler has got. What it
// cannot read net/http answers by itself, with a 400 or a 431, or ends; it tells nobody, and leaves
// only a connection that closes with such a request. What is shorter than it reads ahead (4 KB) and
// comes behind a good request is not seen: such a connection closes as one that is idle does.
//
// A connection's bool is read and written in the goroutine that serves it, and nowhere else.
type heads struct{ begun sync.Map } // net.Conn: *bool

type headKey struct{}

// follow is the server's ConnContext.
func (h *heads) follow(ctx context.Context, c net.Conn) context.Context {
	begun := new(bool)
	h.begun.Store(c, begun)
	return context.WithValue(ctx, headKey{}, begun)
}

// read says that a handler has got the request.
func (h *heads) read(r *http.Request) {
	if begun, ok := r.Context().Value(headKey{}).(*bool); ok {
		*begun = false
	}
}

// follow is the server's ConnState.
func (s *Server) follow(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		if begun, ok := s.heads.begun.Load(c); ok {
			*begun.(*bool) = true
		}
	case http.StateClosed, http.StateHijacked:
		begun, ok := s.heads.begun.Load(c)
		if ok && *begun.(*bool) && s.stopping.Err() == nil {
			s.sayRefused(refusedUnreadable, func() []any { return []any{"from", c.RemoteAddr().String()} })
		}
		s.heads.begun.Delete(c)
	}
}
