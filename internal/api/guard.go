package api

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/tally-kafka/tally/internal/token"
)

const healthPath = "/healthz"

// scope is who may use a route. The zero value is none of them: a route must say.
type scope int

const (
	scopeOpen  scope = iota + 1 // anybody
	scopeRead                   // people who may ask
	scopeAdmin                  // people who may change something
	scopeNode                   // the nodes of the cluster alone
)

// authorize refuses a request whose sender may not use the route. A node's certificate lets its
// holder do everything, since a node that is asked by people asks on for them.
func (s *Server) authorize(r *http.Request, needed scope) error {
	switch {
	case needed == scopeOpen || s.hasCertificate(r):
		return nil
	case needed == scopeNode:
		return s.authorizeNode(r)
	case s.opt.Tokens == nil:
		return nil // the port is on loopback, else there would be tokens
	case needed == scopeRead:
		return s.authorizePerson(r, token.Read)
	case needed == scopeAdmin:
		return s.authorizePerson(r, token.Admin)
	}
	panic("api: a route without a scope: " + r.Pattern)
}

// hasCertificate says that a request comes from a node: over TLS, with a certificate that was
// verified against the cluster's authority when the connection was made, and still is good.
func (s *Server) hasCertificate(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return false
	}
	return s.opt.Trusts == nil || s.opt.Trusts(r.TLS.PeerCertificates)
}

// authorizeNode lets nodes without certificates call each other on one machine, unless people there
// are told apart by tokens: then a call would get round them.
func (s *Server) authorizeNode(r *http.Request) error {
	if r.TLS == nil && s.opt.Tokens == nil {
		return nil
	}
	e := &Error{Status: http.StatusForbidden, Code: CodeForbidden, refusal: refusedNoNode,
		Message: "only the nodes of the cluster may call this", Next: "`tally --help` says what people may ask"}
	if r.TLS == nil {
		e.Next = "nodes that have --tokens know each other by --certs: start them all with both"
	}
	return e
}

func (s *Server) authorizePerson(r *http.Request, needed token.Scope) error {
	const next = "say --token @FILE, or set TALLY_TOKEN; who runs the node makes tokens with `tally token create`"
	text := bearer(r)
	if text == "" {
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthorized, refusal: refusedNoToken,
			Message: "this node wants a token", Next: next}
	}
	entry, ok := s.opt.Tokens.Check(text)
	if !ok {
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthorized, refusal: refusedBadToken,
			Message: "the token is not one of this node's, or it is out of date or revoked", Next: next}
	}
	if !entry.Scope.Allows(needed) {
		return &Error{Status: http.StatusForbidden, Code: CodeForbidden, refusal: refusedScope,
			Message: fmt.Sprintf("the token %s has the scope %s, and this needs %s", entry.Name, entry.Scope, needed),
			Next:    fmt.Sprintf("use a token of `tally token create NAME --scope %s`", needed)}
	}
	return nil
}

// guardOrigin refuses what a web page could make a browser send: a page of a foreign origin, and
// one whose name was rebound to this machine (its Host is then that name). With TLS the names of
// the node's certificate are this machine's too. /healthz is for anybody: a balancer that asks for
// it knows an address, and no name.
func (s *Server) guardOrigin(r *http.Request) error {
	if r.URL.Path == healthPath {
		return nil
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if !isLoopback(host) && (r.TLS == nil || s.opt.Hosts == nil || !s.opt.Hosts(host)) {
		return forbidden(r, refusedHost, "the Host header says %q, which is not this node", r.Host)
	}
	if err := s.guardForwarded(r); err != nil {
		return err
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
		return forbidden(r, refusedOrigin, "a web page of %s may not use the API of this node", origin)
	}
	return nil
}

// forwardedBy are the headers by which proxies say that a request came to them from elsewhere.
// Nodes send none of them to each other.
var forwardedBy = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

// guardForwarded refuses what a proxy on this machine has passed on to a node without tokens: that
// takes whoever reaches its loopback for somebody of the machine, who may change everything.
func (s *Server) guardForwarded(r *http.Request) error {
	if s.opt.Tokens != nil {
		return nil
	}
	for _, name := range forwardedBy {
		if len(r.Header.Values(name)) > 0 {
			return &Error{Status: http.StatusForbidden, Code: CodeForbidden, refusal: refusedProxy,
				Message: fmt.Sprintf("a proxy has passed this request on (%s), and the node has no tokens: whoever reaches the proxy could change everything", name),
				Next:    "start the node with --tokens FILE, which `tally token create NAME --tokens FILE` makes, or ask it without the proxy"}
		}
	}
	return nil
}

func forbidden(r *http.Request, kind refusal, format string, args ...any) *Error {
	next := "use http://127.0.0.1 or http://localhost with the node's port"
	if r.TLS != nil {
		next = "use https:// with a name that the node's certificate has"
	}
	return &Error{Status: http.StatusForbidden, Code: CodeForbidden, refusal: kind, Message: fmt.Sprintf(format, args...), Next: next}
}
