package api

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tally-kafka/tally/internal/seam"
)

// ClientOption is what a client needs beyond the node's URL.
type ClientOption func(*clientOptions)

type clientOptions struct {
	token string
	roots *x509.CertPool
}

// WithToken sends a token, over TLS or to this machine only.
func WithToken(token string) ClientOption { return func(o *clientOptions) { o.token = token } }

// WithCA trusts nodes with certificates of these authorities, and of no other.
func WithCA(roots *x509.CertPool) ClientOption { return func(o *clientOptions) { o.roots = roots } }

// NewClient makes a client of the node at a URL such as http://127.0.0.1:7400.
func NewClient(server string, sm seam.Seam, options ...ClientOption) (*Client, error) {
	var opt clientOptions
	for _, set := range options {
		set(&opt)
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("--server %q is not the URL of a node: say for example http://127.0.0.1:7400", server)
	}
	if u.Scheme == "http" && opt.token != "" && !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("--server %s: a token would cross the network for all to read: say https://%s", server, u.Host)
	}
	return &Client{
		server: u.Scheme + "://" + u.Host,
		token:  opt.token,
		seam:   sm,
		quiet:  quietMax,
		alive:  aliveMax,
		http: &http.Client{
			// No proxy: it would see everything, or nothing that it could serve.
			Transport: &http.Transport{DialContext: sm.Dial, DisableCompression: true,
				TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: opt.roots, Time: sm.Now}},
			// A node sends no redirect; what does is none, and must not get the token.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// trustError says why a node that answers is not believed, and what would work; nil for other
// errors.
func (c *Client) trustError(err error) error {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("the node at %s speaks plain HTTP: say --server %s", c.server, strings.Replace(c.server, "https:", "http:", 1))
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is of an authority that is not trusted here: say --ca FILE with the cluster's ca.crt", c.server)
	case errors.As(err, &host):
		return fmt.Errorf("%w: say in --server a name that the certificate of %s has", host, c.server)
	case errors.As(err, &verify):
		return fmt.Errorf("the certificate of %s cannot be trusted: %w", c.server, verify.Err)
	}
	return nil
}
