package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// The names of the files.
const (
	CAFile    = "ca.crt"
	CAKeyFile = "ca.key"
	CertFile  = "node.crt"
	KeyFile   = "node.key"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	// NodeLife is how long a node's certificate is good unless it is said.
	NodeLife = 2 * 365 * 24 * time.Hour
	// clocksDiffer is how far the clock of a machine may be behind that of the one with the key.
	clocksDiffer = time.Hour
)

// Node is a node to make a certificate for: its name, and the host names and IP addresses at which
// others reach it.
type Node struct {
	Name  string
	Hosts []string
}

// MakeOptions say what to make.
type MakeOptions struct {
	Seam  seam.Seam
	Life  time.Duration // of the nodes' certificates (NodeLife)
	Renew bool          // make the certificates of nodes that have one anew
}

// Made says what was made.
type Made struct {
	NewCA bool
	Until time.Time // the nodes' certificates are good until then
	Dirs  []string  // one a node, in the given order
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
}

// Make makes the authority in dir, unless it is there, and for each node a directory in it with the
// files that belong on the node. It checks everything before it writes anything.
func Make(dir string, nodes []Node, opt MakeOptions) (Made, error) {
	if opt.Life == 0 {
		opt.Life = NodeLife
	}
	for _, n := range nodes {
		if err := n.Check(); err != nil {
			return Made{}, err
		}
		cert := filepath.Join(dir, n.Name, CertFile)
		if _, err := os.Stat(cert); err == nil && !opt.Renew {
			return Made{}, fmt.Errorf("%s is there already: it stays as it is; --renew makes it anew", cert)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Made{}, err
	}
	ca, isNew, err := openAuthority(dir, opt.Seam)
	if err != nil {
		return Made{}, err
	}
	made := Made{NewCA: isNew, Until: opt.Seam.Now().Add(opt.Life)}
	if made.Until.After(ca.cert.NotAfter) {
		made.Until = ca.cert.NotAfter
	}
	for _, n := range nodes {
		if err := ca.writeNode(filepath.Join(dir, n.Name), n, made.Until, opt.Seam); err != nil {
			return Made{}, err
		}
		made.Dirs = append(made.Dirs, filepath.Join(dir, n.Name))
	}
	return made, nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9*]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// Check refuses names that cannot be a node's, and hosts that cannot be in a certificate.
func (n Node) Check() error {
	if !IsName(n.Name) {
		return fmt.Errorf("%q cannot be the name of a node: it is %s", n.Name, NameRule)
	}
	if slices.Contains([]string{CAFile, CAKeyFile}, n.Name) {
		return fmt.Errorf("%q cannot be the name of a node here: it is the authority's file", n.Name)
	}
	if len(n.Hosts) == 0 {
		return fmt.Errorf("node %s has no HOST: say %s=HOST, the name or IP address at which others reach it", n.Name, n.Name)
	}
	for _, h := range n.Hosts {
		if net.ParseIP(h) == nil && !hostName.MatchString(h) {
			return fmt.Errorf("node %s: %q is no host name and no IP address (without a port)", n.Name, h)
		}
	}
	return nil
}

func openAuthority(dir string, sm seam.Seam) (ca *authority, isNew bool, err error) {
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, CAKeyFile)
	_, certErr := os.Stat(certPath)
	_, keyErr := os.Stat(keyPath)
	switch {
	case certErr == nil && keyErr == nil:
		ca, err = readAuthority(certPath, keyPath, sm.Now())
		return ca, false, err
	case certErr == nil:
		return nil, false, fmt.Errorf("%s is there, and %s is not: put the key back from where it is kept,"+
			" or make a new authority in another directory", certPath, keyPath)
	case keyErr == nil:
		return nil, false, fmt.Errorf("%s is there, and %s is not: put the certificate back", keyPath, certPath)
	}
	ca, err = newAuthority(certPath, keyPath, sm)
	return ca, true, err
}

func readAuthority(certPath, keyPath string, now time.Time) (*authority, error) {
	text, err := os.ReadFile(certPath)
	if err != nil {
		return nil, err
	}
	cert, err := firstCertificate(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	keyText, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(keyText)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key in PEM", keyPath)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no ECDSA key in PKCS #8, which `tally certs` writes", keyPath)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("the key in %s is not the one of the certificate in %s", keyPath, certPath)
	}
	if now.After(cert.NotAfter) {
		return nil, fmt.Errorf("the authority in %s is out of date since %s: make a new one in another directory,"+
			" and see docs/security.md for the change", certPath, day(cert.NotAfter))
	}
	return &authority{cert, text, key}, nil
}

func newAuthority(certPath, keyPath string, sm seam.Seam) (*authority, error) {
	key, err := newKey(sm)
	if err != nil {
		return nil, err
	}
	now := sm.Now()
	serial := newSerial(sm)
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		// A name of its own each time, so that two authorities are told apart.
		Subject:   pkix.Name{CommonName: "tally authority " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore: now.Add(-clocksDiffer), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	ca := &authority{cert: tmpl, key: key}
	if ca.pem, err = ca.sign(tmpl, key, sm); err != nil {
		return nil, err
	}
	if ca.cert, err = firstCertificate(ca.pem); err != nil {
		return nil, err
	}
	// The key first: an authority without its key would be a dead end.
	if err := writeKey(keyPath, key); err != nil {
		return nil, err
	}
	return ca, writeNew(certPath, ca.pem, 0o644)
}

// sign makes the PEM of a certificate.
func (ca *authority) sign(tmpl *x509.Certificate, key *ecdsa.PrivateKey, sm seam.Seam) ([]byte, error) {
	der, err := x509.CreateCertificate(chance{sm}, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", tmpl.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// writeNode makes a node's key and certificate. They also name this machine, so that its people
// reach the node as localhost.
func (ca *authority) writeNode(dir string, n Node, until time.Time, sm seam.Seam) error {
	key, err := newKey(sm)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: newSerial(sm),
		Subject:      pkix.Name{CommonName: n.Name, Organization: []string{"tally node"}},
		NotBefore:    sm.Now().Add(-clocksDiffer), NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, h := range n.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	cert, err := ca.sign(tmpl, key, sm)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(dir, CAFile), func(path string) error { return writeNew(path, ca.pem, 0o644) }),
		replace(filepath.Join(dir, KeyFile), func(path string) error { return writeKey(path, key) }),
		replace(filepath.Join(dir, CertFile), func(path string) error { return writeNew(path, cert, 0o644) }))
}

// replace puts a file in the place of another in one step, so that a node that reads meanwhile sees
// one of them whole.
func replace(path string, write func(path string) error) error {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := write(temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func newKey(sm seam.Seam) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), chance{sm})
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// newSerial draws a serial number of 126 to 127 bits.
func newSerial(sm seam.Seam) *big.Int {
	var b [16]byte
	sm.Rand(b[:])
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// writeNew refuses a file that is there.
func writeNew(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// chance is the seam's randomness as a reader.
type chance struct{ sm seam.Seam }

var _ io.Reader = chance{}

func (c chance) Read(b []byte) (int, error) {
	c.sm.Rand(b)
	return len(b), nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

// names are all for which a certificate is good.
func names(cert *x509.Certificate) string {
	all := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	return strings.Join(all, ", ")
}
