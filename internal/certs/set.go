package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/livefile"
	"github.com/tally-kafka/tally/internal/seam"
)

// Set is a node's certificate, key and authority, as its directory has them by now. It may be used
// from many goroutines.
type Set struct {
	dir  string
	opt  Options
	live *livefile.Value[*loaded]

	mu   sync.Mutex
	said time.Time // when it was last logged that the certificate ends soon
}

// Options are the surroundings of a Set. Zero means the default.
type Options struct {
	Seam  seam.Seam // required
	Log   *slog.Logger
	Every time.Duration // between two looks at the files (1 s)
	Warn  time.Duration // before the certificate ends (30 days), once a day
}

type loaded struct {
	pair tls.Certificate
	leaf *x509.Certificate
	pool *x509.CertPool // the authority

	mu    sync.Mutex
	peers map[string]time.Time // of other nodes' certificates that were found good: until when
}

// peersMax bounds what is remembered of other nodes' certificates.
const peersMax = 1024

// Open reads the files of a directory, which must fit together and be of today.
func Open(dir string, opt Options) (*Set, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Warn == 0 {
		opt.Warn = 30 * 24 * time.Hour
	}
	s := &Set{dir: dir, opt: opt}
	var err error
	s.live, err = livefile.Open(livefile.Options{Seam: opt.Seam, Log: opt.Log, Every: opt.Every}, s.load,
		filepath.Join(dir, CAFile), filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile))
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(filepath.Join(dir, KeyFile)); err == nil && info.Mode().Perm()&0o007 != 0 {
		opt.Log.Warn("every user of this machine can read the node's key: chmod 600 it", "file", filepath.Join(dir, KeyFile))
	}
	return s, nil
}

// Pool reads authorities from a PEM file, for a client of a cluster.
func Pool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

func firstCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// MissingError says that --certs names what is not there.
type MissingError struct{ file string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing: --certs wants a directory with %s, %s and %s, as `tally certs` makes one a node",
		e.file, CAFile, CertFile, KeyFile)
}

// ExitCode is the process's exit code: bad usage.
func (e *MissingError) ExitCode() int { return 2 }

func (s *Set) load() (*loaded, error) {
	caPath, certPath, keyPath := filepath.Join(s.dir, CAFile), filepath.Join(s.dir, CertFile), filepath.Join(s.dir, KeyFile)
	for _, f := range []string{caPath, certPath, keyPath} {
		if _, err := os.Stat(f); errors.Is(err, fs.ErrNotExist) {
			return nil, &MissingError{f}
		}
	}
	l := &loaded{}
	var err error
	if l.pool, err = Pool(caPath); err != nil {
		return nil, err
	}
	certText, err := os.ReadFile(certPath)
	if err != nil {
		return nil, err
	}
	if l.leaf, err = firstCertificate(certText); err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	keyText, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	if l.pair, err = tls.X509KeyPair(certText, keyText); err != nil {
		return nil, fmt.Errorf("%s is not the key of the certificate in %s (%w): take both from one run of `tally certs`", keyPath, certPath, err)
	}
	return l, s.verify(l, certPath, caPath)
}

// verify says why others would not take the certificate.
func (s *Set) verify(l *loaded, certPath, caPath string) error {
	now := s.opt.Seam.Now()
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := l.leaf.Verify(x509.VerifyOptions{
			Roots: l.pool, Intermediates: intermediates(l.pair), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return fmt.Errorf("%s: %w", certPath, why(err, l.leaf, now, "the one in "+caPath))
		}
	}
	return nil
}

// intermediates are the certificates behind the first in a node.crt, between it and the authority.
func intermediates(pair tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(c)
		}
	}
	return pool
}

// get is the newest good load.
func (s *Set) get() *loaded {
	l := s.live.Get()
	now := s.opt.Seam.Now()
	if l.leaf.NotAfter.Sub(now) > s.opt.Warn {
		return l
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.said) > 24*time.Hour {
		s.said = now
		s.opt.Log.Warn("this node's certificate ends soon; `tally certs --renew` makes a new one, which is taken without a restart",
			"file", filepath.Join(s.dir, CertFile), "until", day(l.leaf.NotAfter))
	}
	return l
}

// Trusts says whether a certificate that another node has come with, followed by those between it
// and the authority, is good still: by the authorities and the time of now.
func (s *Set) Trusts(peer []*x509.Certificate) bool {
	return len(peer) > 0 && s.get().trusts(peer, s.opt.Seam.Now())
}

func (l *loaded) trusts(peer []*x509.Certificate, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until, ok := l.peers[string(peer[0].Raw)]; ok && !now.After(until) {
		return true
	}
	between := x509.NewCertPool()
	for _, c := range peer[1:] {
		between.AddCert(c)
	}
	chains, err := peer[0].Verify(x509.VerifyOptions{
		Roots: l.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return false
	}
	if l.peers == nil || len(l.peers) >= peersMax {
		l.peers = map[string]time.Time{}
	}
	l.peers[string(peer[0].Raw)] = lastEnd(chains)
	return true
}

// lastEnd is until when one of the chains is good.
func lastEnd(chains [][]*x509.Certificate) (last time.Time) {
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(last) {
			last = end
		}
	}
	return last
}

// Until is when the node's certificate ends.
func (s *Set) Until() time.Time { return s.get().leaf.NotAfter }

// Covers says that others can reach this node as host: its certificate names it.
func (s *Set) Covers(host string) bool { return s.get().leaf.VerifyHostname(host) == nil }

// Names are what the certificate is good for.
func (s *Set) Names() string { return names(s.get().leaf) }

// Server is how to serve one connection with the files of now: the protocols to agree on, and
// whether a node's certificate is required or only looked at where there is one.
func (s *Set) Server(protocols []string, required bool) *tls.Config {
	l := s.get()
	auth := tls.VerifyClientCertIfGiven
	if required {
		auth = tls.RequireAndVerifyClientCert
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Time: s.opt.Seam.Now, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{l.pair}, ClientCAs: l.pool, ClientAuth: auth, NextProtos: protocols,
	}
}

// Client is how to make one connection, as a node, to another node at host.
func (s *Set) Client(host string, protocols ...string) *tls.Config {
	l := s.get()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Time: s.opt.Seam.Now, ServerName: host,
		RootCAs: l.pool, Certificates: []tls.Certificate{l.pair}, NextProtos: protocols,
	}
}
