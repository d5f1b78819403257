package kafka

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// secure fills TLS and SASL from security.protocol and what belongs to it.
func (l *loading) secure(c *Config) error {
	var withTLS, withSASL bool
	switch p := strings.ToUpper(l.values["security.protocol"]); p {
	case "", "PLAINTEXT":
	case "SSL":
		withTLS = true
	case "SASL_PLAINTEXT":
		withSASL = true
	case "SASL_SSL":
		withTLS, withSASL = true, true
	default:
		return fmt.Errorf("security.protocol=%s is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL", p)
	}
	l.warnUnused(withTLS, withSASL)
	var err error
	if withTLS {
		if c.TLS, err = l.tlsConfig(); err != nil {
			return err
		}
	}
	if withSASL {
		var m sasl.Mechanism
		if m, c.user, err = l.mechanism(withTLS); err != nil {
			return err
		}
		c.SASL = []sasl.Mechanism{m}
	}
	return nil
}

// warnUnused tells of settings that the security.protocol passes over, as Java silently does.
func (l *loading) warnUnused(withTLS, withSASL bool) {
	for _, key := range known {
		if l.values[key] == "" {
			continue
		}
		if (!withTLS && strings.HasPrefix(key, "ssl.")) || (!withSASL && strings.HasPrefix(key, "sasl.")) {
			l.warn("%s is not used: security.protocol says nothing of %s", key, strings.ToUpper(key[:strings.Index(key, ".")]))
		}
	}
}

// mechanism makes the SASL mechanism and names its user.
func (l *loading) mechanism(withTLS bool) (sasl.Mechanism, string, error) {
	user, password, err := l.credentials()
	if err != nil {
		return nil, "", err
	}
	switch name := strings.ToUpper(l.values["sasl.mechanism"]); name {
	case "PLAIN":
		if !withTLS {
			l.warn("the password goes over the network unencrypted: security.protocol=SASL_PLAINTEXT with PLAIN")
		}
		return plain.Auth{User: user, Pass: password}.AsMechanism(), user, nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism(), user, nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism(), user, nil
	case "":
		return nil, "", errors.New("sasl.mechanism is missing: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	default:
		return nil, "", fmt.Errorf("sasl.mechanism=%s is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", name)
	}
}

// credentials are sasl.username and sasl.password, or those in sasl.jaas.config; a variable of the
// environment that names one of the first two wins over the file's JAAS line.
func (l *loading) credentials() (user, password string, err error) {
	if jaas := l.values["sasl.jaas.config"]; jaas != "" {
		if user, password, err = parseJAAS(jaas); err != nil {
			return "", "", fmt.Errorf("sasl.jaas.config: %w", err)
		}
	}
	if v := l.values["sasl.username"]; v != "" {
		user = v
	}
	if v := l.values["sasl.password"]; v != "" {
		password = v
	}
	if user == "" || password == "" {
		return "", "", errors.New("SASL needs a user and a password: sasl.jaas.config, or sasl.username and " +
			"sasl.password (or TALLY_KAFKA_SASL_PASSWORD)")
	}
	return user, password, nil
}

// parseJAAS reads `MODULE required name="value" ...;`.
func parseJAAS(s string) (user, password string, err error) {
	module, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	short := module[strings.LastIndex(module, ".")+1:]
	if short != "PlainLoginModule" && short != "ScramLoginModule" {
		return "", "", errors.New("only PlainLoginModule and ScramLoginModule are supported")
	}
	flag, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if flag != "required" {
		return "", "", errors.New("after the module stands the word required")
	}
	for rest = strings.TrimSpace(rest); rest != "" && rest != ";"; rest = strings.TrimSpace(rest) {
		var name, value string
		if name, value, rest, err = jaasOption(rest); err != nil {
			return "", "", err
		}
		switch name {
		case "username":
			user = value
		case "password":
			password = value
		case "tokenauth":
			return "", "", errors.New("delegation tokens (tokenauth) are not supported")
		}
	}
	if rest != ";" {
		return "", "", errors.New("it does not end in a semicolon")
	}
	return user, password, nil
}

// jaasOption takes one name="value" off s; within quotes a backslash escapes.
func jaasOption(s string) (name, value, rest string, err error) {
	name, rest, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", "", errors.New(`an option is not of the form name="value"`)
	}
	name, rest = strings.TrimSpace(name), strings.TrimSpace(rest)
	if rest == "" || (rest[0] != '"' && rest[0] != '\'') {
		end := strings.IndexAny(rest, " \t\n;")
		if end < 0 {
			end = len(rest)
		}
		return name, rest[:end], rest[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == rest[0]:
			return name, b.String(), rest[i+1:], nil
		case rest[i] == '\\' && i+1 < len(rest):
			i++
		}
		b.WriteByte(rest[i])
	}
	return "", "", "", fmt.Errorf("the value of %s has no closing quote", name)
}

// versions are the least and the newest TLS version of ssl.enabled.protocols; older ones than 1.2
// that it allows beside these are not used.
func versions(enabled string) (least, newest uint16, err error) {
	if enabled == "" {
		return tls.VersionTLS12, 0, nil
	}
	for _, p := range list(enabled) {
		v, known := map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}[p]
		if !known {
			return 0, 0, fmt.Errorf("ssl.enabled.protocols: %s is not one of TLSv1.2, TLSv1.3", p)
		}
		if v >= tls.VersionTLS12 {
			least, newest = min(cmp.Or(least, v), v), max(newest, v)
		}
	}
	if newest == 0 {
		return 0, 0, fmt.Errorf("ssl.enabled.protocols=%s: tally speaks TLSv1.2 and TLSv1.3", enabled)
	}
	return least, newest, nil
}

// tlsConfig trusts the system's authorities unless a trust store is named.
func (l *loading) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{}
	var err error
	if cfg.MinVersion, cfg.MaxVersion, err = versions(l.values["ssl.enabled.protocols"]); err != nil {
		return nil, err
	}
	trust, err := l.pem("ssl.truststore", "ssl.truststore.certificates")
	if err != nil {
		return nil, err
	}
	if trust != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(trust)) {
			return nil, errors.New("ssl.truststore holds no PEM certificate (-----BEGIN CERTIFICATE-----)")
		}
	}
	pair, err := l.pem("ssl.keystore", "ssl.keystore.key", "ssl.keystore.certificate.chain")
	if err != nil {
		return nil, err
	}
	if pair != "" {
		cert, err := tls.X509KeyPair([]byte(pair), []byte(pair))
		if err != nil {
			return nil, fmt.Errorf("ssl.keystore: it takes a PEM certificate chain and its unencrypted PEM key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	switch a, named := l.values["ssl.endpoint.identification.algorithm"]; {
	case !named, strings.EqualFold(a, "https"):
	case a == "":
		l.warn("ssl.endpoint.identification.algorithm is empty: a certificate for any host name is accepted")
		acceptAnyName(cfg)
	default:
		return nil, errors.New("ssl.endpoint.identification.algorithm is https or empty")
	}
	return cfg, nil
}

// pem reads a store: its location, or its parts given in the properties themselves.
func (l *loading) pem(store string, parts ...string) (string, error) {
	var inline string
	for _, p := range parts {
		if v := l.values[p]; v != "" {
			inline += v + "\n"
		}
	}
	file := l.values[store+".location"]
	if inline == "" && file == "" {
		return "", nil
	}
	if kind := l.values[store+".type"]; !strings.EqualFold(kind, "PEM") {
		if kind == "" {
			kind = "JKS (Java's default)"
		}
		return "", fmt.Errorf("%s.type is %s; tally reads PEM: convert the store (keytool -importkeystore to PKCS12, "+
			"then openssl pkcs12 -nodes) and set %s.type=PEM", store, kind, store)
	}
	if inline != "" {
		if file != "" {
			return "", fmt.Errorf("%s.location and %s say the same thing twice; keep one", store, parts[0])
		}
		return inline, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s.location: %w", store, err)
	}
	return string(text), nil
}

// acceptAnyName checks the certificate's chain, but not whose name it bears. Go can leave out only
// both checks, so the first is made here.
func acceptAnyName(cfg *tls.Config) {
	roots := cfg.RootCAs
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		_, err := cs.PeerCertificates[0].Verify(opts)
		return err
	}
}
