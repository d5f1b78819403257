package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tally-kafka/tally/state"
)

// route is one method and path; Routes and the tests walk them.
type route struct {
	pattern string
	scope   scope
	handle  func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) routeTable() []route {
	return []route{
		{"GET /v1/status", scopeRead, s.serveStatus},
		{"GET /v1/apps", scopeRead, s.serveApps},
		{"POST /v1/apps/{app}/get", scopeRead, s.serveGet},
		{"POST /v1/apps/{app}/top", scopeRead, s.serveTop},
		{"POST /v1/apps/{app}/scan", scopeRead, s.serveScan},
		{"POST /v1/apps/{app}/watch", scopeRead, s.serveWatch},
		{"POST /v1/apps/{app}/reset", scopeAdmin, s.serveReset},
		{"POST /v1/apps/{app}/sent", scopeNode, s.serveSent},
		{"POST /v1/apps/{app}/values", scopeNode, s.serveValues},
		{"PUT /v1/apps/{app}", scopeAdmin, s.serveSubmit},
		{"DELETE /v1/apps/{app}", scopeAdmin, s.serveDelete},
		{"POST /v1/apps/{app}/lanes/{lane}/move", scopeAdmin, s.serveMove},
		{"POST /v1/nodes/{node}/drain", scopeAdmin, s.serveDrain},
		{"DELETE /v1/nodes/{node}", scopeAdmin, s.serveForget},
		{"POST /v1/node/{call}", scopeNode, s.serveCall},
		{"GET " + pieceRoute, scopeNode, s.servePiece},
		{"GET " + healthPath, scopeOpen, s.serveHealth},
		{"GET /readyz", scopeRead, s.serveReady},
		{"GET /metrics", scopeRead, s.metricsHandler()},
		{"/", scopeRead, s.serveUnknown},
	}
}

func (s *Server) routes() {
	for _, rt := range s.routeTable() {
		if rt.scope == 0 {
			panic("api: the route " + rt.pattern + " says not who may use it")
		}
		s.mux.Handle(rt.pattern, s.authorized(rt.scope, rt.handle))
	}
}

// authorized is a handler for those who may use it, with what it says when it fails.
func (s *Server) authorized(of scope, handle func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := s.authorize(r, of)
		if err == nil {
			err = handle(w, r)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}
}

// ServeHTTP guards every route, bounds it, and ends it when the server stops.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.heads.read(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	ctl := http.NewResponseController(w)
	// Before anything is answered: net/http reads the rest of a body behind any answer, and what is
	// announced and never sent ends here, or in readBody.
	if r.ContentLength != 0 {
		_ = ctl.SetReadDeadline(s.opt.Seam.Now().Add(s.opt.BodyTimeout))
	}
	dw := &deadlineWriter{ResponseWriter: w, ctl: ctl, now: s.opt.Seam.Now, timeout: s.opt.WriteTimeout}
	if err := s.guardOrigin(r); err != nil {
		s.fail(dw, r, err)
		return
	}
	r = r.WithContext(ctx)
	if at := r.URL.EscapedPath(); !isClean(at) {
		r.Pattern = "/" // the mux would send whoever asks to another place
		s.authorized(scopeRead, s.serveUnknown)(dw, r)
		return
	}
	s.mux.ServeHTTP(dw, r)
}

// isClean tells whether a path has no dots and no empty parts but at its end.
func isClean(at string) bool { return path.Clean(at) == strings.TrimSuffix(at, "/") || at == "/" }

// deadlineWriter gives each write its own deadline, so that streams may be long but no reader that
// stops reading can hold a snapshot of the store.
type deadlineWriter struct {
	http.ResponseWriter
	ctl     *http.ResponseController
	now     func() time.Time
	timeout time.Duration
	started bool  // something was written: the status can no longer change
	pace    *pace // nil: the reader may be as slow as timeout lets it be
}

func (d *deadlineWriter) Write(b []byte) (int, error) {
	d.started = true
	d.arm()
	began := d.now()
	n, err := d.ResponseWriter.Write(b)
	if err == nil && d.pace != nil {
		err = d.pace.add(n, d.now().Sub(began))
	}
	return n, d.tooSlow(err)
}

// FlushError sends what was written, or the header alone, within a deadline of its own.
func (d *deadlineWriter) FlushError() error {
	d.started = true
	d.arm()
	return d.tooSlow(d.ctl.Flush())
}

func (d *deadlineWriter) arm() {
	// Not every ResponseWriter has deadlines (a test's has none); then there is nothing to bound.
	_ = d.ctl.SetWriteDeadline(d.now().Add(d.timeout))
}

func (d *deadlineWriter) WriteHeader(code int) {
	d.started = true
	d.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController find the connection.
func (d *deadlineWriter) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// readBody reads a bounded body in a bounded time. The deadline stays on what could not be read:
// the rest is read away behind the answer.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(s.opt.Seam.Now().Add(s.opt.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.opt.BodyBytesMax))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge,
			Message: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit),
			Next:    "no group and no spec is as large as that"}
	case err != nil:
		return nil, badRequest("the body cannot be read: %v", err)
	}
	_ = ctl.SetReadDeadline(time.Time{})
	return body, nil
}

func badRequest(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// asError makes the answer of any error; what is not an *Error is the server's fault.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady,
			Message: "the node is stopping", Next: "ask again when it runs"}
	case errors.Is(err, state.ErrClosed): // the lane has moved or begun anew, and was waited for
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady, Message: err.Error(),
			Next: "see `tally status`, or ask with a longer --wait"}
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Message: err.Error(),
		Next: "the node's log may say more"}
}

// writeError answers with an error, or, when a stream has begun, appends it as its last line.
func writeError(w http.ResponseWriter, err error) {
	e := asError(err)
	if dw, ok := w.(*deadlineWriter); ok && dw.started {
		_ = encodeJSON(w, errorBody{e})
		return
	}
	writeJSON(w, e.Status, errorBody{e})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1") // a second: most tops and scans are over by then
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = encodeJSON(w, v) // a client that has gone needs no answer
}

// encodeJSON writes one line. Groups are canonical JSON and stay byte for byte as they are, so <, >
// and & are not escaped as for HTML.
func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
	return nil
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) error {
	why := s.node.NotReady()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(why) == 0 {
		_, _ = io.WriteString(w, "ready\n")
		return nil
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, strings.Join(why, "\n")+"\n")
	return nil
}

func (s *Server) metricsHandler() func(http.ResponseWriter, *http.Request) error {
	h := promhttp.HandlerFor(s.opt.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Registry: s.opt.Registry})
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// serveUnknown names the routes, so that whoever explores with curl gets on.
func (s *Server) serveUnknown(_ http.ResponseWriter, r *http.Request) error {
	var known []string
	for _, rt := range s.routeTable() {
		if method, path, ok := strings.Cut(rt.pattern, " "); ok {
			if path == strings.TrimSuffix(r.URL.Path, "/") && method != r.Method {
				return &Error{Status: http.StatusMethodNotAllowed, Code: CodeNotFound, refusal: refusedNoRoute,
					Message: fmt.Sprintf("%s %s is not there", r.Method, r.URL.Path), Next: "use " + rt.pattern}
			}
			known = append(known, rt.pattern)
		}
	}
	return &Error{Status: http.StatusNotFound, Code: CodeNotFound, refusal: refusedNoRoute,
		Message: fmt.Sprintf("there is nothing at %s %s", r.Method, r.URL.Path),
		Next:    "there is " + strings.Join(known, ", ")}
}
