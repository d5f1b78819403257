package api

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
)

// refusal is a kind of no to who asks, in the words of the log. "" is none: that an app is unknown,
// that a lane is elsewhere or that the node fails is nobody's misuse.
type refusal string

const (
	// These say that somebody may not do what they try.
	refusedNoToken  refusal = "no token"
	refusedBadToken refusal = "a token that is not good"
	refusedScope    refusal = "more than the token's scope"
	refusedNoNode   refusal = "no certificate of a node"
	refusedHost     refusal = "the name of another host"
	refusedOrigin   refusal = "a web page of another origin"
	refusedProxy    refusal = "passed on by a proxy"

	// These happen to whoever makes a mistake, or asks too much.
	refusedNoRoute    refusal = "no such route"
	refusedMalformed  refusal = "malformed"
	refusedUnreadable refusal = "not readable as HTTP"
	refusedTooLarge   refusal = "too large"
	refusedTooSlow    refusal = "too slow a reader"
	refusedBusy       refusal = "busy"
)

var refusalOfCode = map[string]refusal{
	CodeBadRequest: refusedMalformed, CodeTooLarge: refusedTooLarge, CodeTooSlow: refusedTooSlow, CodeBusy: refusedBusy,
}

func (k refusal) level() slog.Level {
	switch k {
	case refusedNoRoute, refusedMalformed, refusedUnreadable, refusedTooLarge, refusedTooSlow, refusedBusy:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// fail answers with an error. Every error becomes an answer here, so that no refusal is without its
// line in the log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	kind := e.refusal
	if kind == "" {
		kind = refusalOfCode[e.Code]
	}
	if kind != "" {
		s.sayRefused(kind, func() []any {
			return append([]any{"route", s.routeOf(r), "from", r.RemoteAddr}, s.nameOf(r)...)
		})
	}
	writeError(w, e)
}

// sayRefused logs a kind of refusal, and that not too often. What of asks for may be a sender's
// address and a name of this node's own; a path, a query, a header or a body may hold anything,
// secrets too.
func (s *Server) sayRefused(kind refusal, of func() []any) {
	s.refused.Say(kind.level(), string(kind), "a request was refused", func() []any {
		return append([]any{"reason", string(kind)}, of()...)
	})
}

// routeOf is the pattern of a request's route, and never its path.
func (s *Server) routeOf(r *http.Request) string {
	at := r.Pattern
	if at == "" { // it was refused before the mux saw it
		_, at = s.mux.Handler(r)
	}
	if !slices.ContainsFunc(s.routeTable(), func(rt route) bool { return rt.pattern == at }) {
		return "/" // the mux makes a pattern of its own of some requests
	}
	return at
}

// nameOf is the name of the certificate or the token that a request has come with, where it is one
// that this node knows.
func (s *Server) nameOf(r *http.Request) []any {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return []any{"certificate", r.TLS.VerifiedChains[0][0].Subject.CommonName}
	}
	if s.opt.Tokens == nil {
		return nil
	}
	entry, ok := s.opt.Tokens.Check(bearer(r))
	if !ok {
		return nil
	}
	return []any{"token", entry.Name}
}

// bearer is the token that a request has come with; "" is none.
func bearer(r *http.Request) string {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(text)
}
