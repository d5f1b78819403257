package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// why says what is wrong with a certificate, and the next step. authority names the one that should
// have signed it.
func why(err error, cert *x509.Certificate, now time.Time, authority string) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	switch {
	case errors.As(err, &host):
		return fmt.Errorf("the certificate is for %s, and not for %s: make one with `tally certs DIR --nodes NAME=%s --renew`",
			names(host.Certificate), host.Host, host.Host)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate is of another authority than %s: all nodes of a cluster need certificates of one", authority)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && cert != nil && now.Before(cert.NotBefore):
		return fmt.Errorf("the certificate is good from %s on, and here it is %s: is the clock right?",
			cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && cert != nil:
		return fmt.Errorf("the certificate is out of date since %s: make a new one with `tally certs DIR --nodes NAME=HOST --renew`",
			day(cert.NotAfter))
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return errors.New("the certificate is not for both servers and clients, as a node's must be: make one with `tally certs`")
	}
	return err
}

// TrustError says that two nodes do not take each other's certificates. No waiting changes that.
type TrustError struct{ err error }

func (e *TrustError) Error() string { return e.err.Error() }
func (e *TrustError) Unwrap() error { return e.err }

// Untrusted tells those who know nothing of certificates what kind of error it is.
func (e *TrustError) Untrusted() bool { return true }

// Why says, of an error of a connection to a node at addr, what is wrong and the next step. It is a
// *TrustError where that is something about certificates.
func (s *Set) Why(err error, addr string) error {
	if said := s.whyUntrusted(err, addr); said != nil {
		return &TrustError{said}
	}
	if strings.Contains(err.Error(), "no application protocol") {
		return fmt.Errorf("at %s there is no tally node, or one of another version (%w)", addr, err)
	}
	return fmt.Errorf("reach the node at %s: %w", addr, err)
}

// whyUntrusted is nil for what has nothing to do with certificates.
func (s *Set) whyUntrusted(err error, addr string) error {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	text := err.Error()
	switch {
	case errors.As(err, &verify) && len(verify.UnverifiedCertificates) > 0:
		cert := verify.UnverifiedCertificates[0]
		return fmt.Errorf("the node at %s: %w", addr, why(verify.Err, cert, s.opt.Seam.Now(), "the one in "+s.dir))
	case errors.As(err, &record):
		return fmt.Errorf("the node at %s has no certificates: start it with --certs, as this one was", addr)
	case strings.Contains(text, "unknown certificate authority"), strings.Contains(text, "bad certificate"):
		return fmt.Errorf("the node at %s does not take the certificate in %s, which is of another authority (%w)", addr, s.dir, err)
	case strings.Contains(text, "expired certificate"):
		return fmt.Errorf("the node at %s says that the certificate in %s is out of date, which ends on %s: make a new one, or set its clock (%w)",
			addr, s.dir, day(s.Until()), err)
	}
	return nil
}
