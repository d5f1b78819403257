package testkafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The one user of the SASL_SSL listener, by PLAIN and by SCRAM.
const (
	User     = "alice"
	Password = "alice-secret"
)

// authority is a certificate authority that lives as long as a cluster.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "testkafka authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: certPEM(der)}, nil
}

// issue signs a certificate for 127.0.0.1; the key is PKCS#8, which is all that Kafka
// reads from a PEM store.
func (a *authority) issue(name string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, // and not localhost: a test wants a wrong name
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, k.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return certPEM(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// write puts ca.pem, server.pem and client.pem (key and certificate) into dir.
func (a *authority) write(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), a.pem, 0o600); err != nil {
		return err
	}
	for _, name := range []string{"server", "client"} {
		cert, key, err := a.issue(name)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, name+".pem")
		if err := os.WriteFile(file, append(key, cert...), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// properties are the broker's settings of the SASL_SSL listener. A client certificate is asked for
// but not required; Props can say otherwise.
func (a *authority) properties(dir string) map[string]string {
	const p = "listener.name.secure."
	plain := fmt.Sprintf("org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=%q;",
		User, Password)
	const scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	return map[string]string{
		p + "ssl.keystore.type":              "PEM",
		p + "ssl.keystore.location":          filepath.Join(dir, "server.pem"),
		p + "ssl.truststore.type":            "PEM",
		p + "ssl.truststore.location":        filepath.Join(dir, "ca.pem"),
		p + "ssl.client.auth":                "requested",
		p + "sasl.enabled.mechanisms":        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		p + "plain.sasl.jaas.config":         plain,
		p + "scram-sha-256.sasl.jaas.config": scram,
		p + "scram-sha-512.sasl.jaas.config": scram,
		"sasl.enabled.mechanisms":            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
	}
}
