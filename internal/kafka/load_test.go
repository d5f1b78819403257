package kafka

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/seam"
)

func TestParseProperties(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"separators", "a=1\nb: 2\nc 3\n d\t=\t4\ne", "a=1|b=2|c=3|d=4|e="},
		{"comments and blanks", "# a=1\n\n  ! b=2\nc=3", "c=3"},
		{"Windows", "a=1\r\nb=2\r\n", "a=1|b=2"},
		{"continued", "a=1,\\\n   2,\\\n   3\nb=x\\\\\nc=y", "a=1,2,3|b=x\\|c=y"},
		{"a password of odd characters", `p=a=b:c\#d\u00e9\u20AC`, "p=a=b:c#dé€"},
		{"a surrogate pair", `p=\ud83d\ude00`, "p=😀"},
		{"an escaped key", `a\ b\:c=1`, "a b:c=1"},
		{"line breaks", `cert=-----BEGIN-----\nabc\n-----END-----`, "cert=-----BEGIN-----\nabc\n-----END-----"},
		{"the last wins", "a=1\na=2", "a=1|a=2"},
		{"ends in a continuation", "a=1\\", "a=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			props, err := parseProperties(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range props {
				got = append(got, p.key+"="+p.value)
			}
			if s := strings.Join(got, "|"); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
	if _, err := parseProperties("a=1\np=secret\\u12"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a broken escape: %v", err)
	}
}

// load writes a file and loads it with the given environment.
func load(t *testing.T, text string, env map[string]string, brokers ...string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "client.properties")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(brokers, file, func(name string) string { return env[name] }, seam.World())
}

const scramFile = `bootstrap.servers=k1:9093, k2:9093
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
  username="alice" password="s3\\\"cr;et";
acks=all
ssl.enabled.protocols=TLSv1.3
`

// TestTLSVersions: what ssl.enabled.protocols allows is what is spoken, as far as tally can.
func TestTLSVersions(t *testing.T) {
	for enabled, want := range map[string]string{
		"": "303 0", "TLSv1.2,TLSv1.3": "303 304", "TLSv1.3": "304 304", "TLSv1, TLSv1.1, TLSv1.2": "303 303",
		"TLSv1.1": "error", "TLSv1.4": "error",
	} {
		least, newest, err := versions(enabled)
		got := fmt.Sprintf("%x %x", least, newest)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, not %s (%v)", enabled, got, want, err)
		}
	}
}

func TestLoad(t *testing.T) {
	c, err := load(t, scramFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.String(), "k1:9093,k2:9093 (SASL_SSL SCRAM-SHA-512 as alice)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c.TLS.MinVersion != tls.VersionTLS13 {
		t.Errorf("it speaks TLS from %x on", c.TLS.MinVersion)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], ":6: acks is not used") {
		t.Errorf("warnings %q", c.Warnings)
	}
	c, err = load(t, scramFile, map[string]string{"TALLY_KAFKA_SASL_USERNAME": "bob", "TALLY_KAFKA_CLIENT_ID": "x"}, "other:1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.String(), "other:1 (SASL_SSL SCRAM-SHA-512 as bob)"; got != want || c.ClientID != "x" {
		t.Errorf("got %s and client id %q, want %s", got, c.ClientID, want)
	}
}

func TestJAAS(t *testing.T) {
	user, password, err := parseJAAS(`org.apache.kafka.common.security.plain.PlainLoginModule required username="a b" password="p\"q\\r;" serviceName=x;`)
	if err != nil || user != "a b" || password != `p"q\r;` {
		t.Errorf("got %q, %q, %v", user, password, err)
	}
	for _, bad := range []string{"", "x.PlainLoginModule", "x.OAuthBearerLoginModule required;",
		`x.PlainLoginModule optional username="a";`, `x.PlainLoginModule required username="a`,
		`x.PlainLoginModule required username="a" password="b"`, `x.ScramLoginModule required tokenauth="true";`} {
		if _, _, err := parseJAAS(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a typing error", "sasl.mechanisms=PLAIN", ":1: sasl.mechanisms is not supported; known are"},
		{"an encrypted key", "a=b\nssl.key.password=topsecret", ":2: ssl.key.password is not supported: tally reads private keys that are not encrypted"},
		{"a store of Java", "security.protocol=SSL\nssl.truststore.location=/x.jks", "ssl.truststore.type is JKS (Java's default); tally reads PEM"},
		{"Kerberos", "security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI\nsasl.username=a\nsasl.password=topsecret", "sasl.mechanism=GSSAPI is not one of"},
		{"no mechanism", "security.protocol=SASL_SSL\nsasl.username=a\nsasl.password=topsecret", "sasl.mechanism is missing"},
		{"no password", "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.username=a", "SASL needs a user and a password"},
		{"an unset variable", "sasl.password=${env:NOT_SET}", "sasl.password: the environment variable NOT_SET is not set"},
		{"a protocol", "security.protocol=TLS", "security.protocol=TLS is not one of"},
		{"no certificate", "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.certificates=topsecret", "holds no PEM certificate"},
		{"a key without a certificate", "security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.key=topsecret", "ssl.keystore: it takes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.text, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "topsecret") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// TestSecretsStayHidden prints a loaded Config in every way that a log could.
func TestSecretsStayHidden(t *testing.T) {
	text := strings.ReplaceAll(scramFile, `s3\\\"cr;et`, "${env:PW}")
	c, err := load(t, text, map[string]string{"PW": "topsecret"})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "kafka", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "kafka", c)
	fmt.Fprintf(&log, "%v %+v %#v %s %q", c, c, c, c, c.Warnings)
	if strings.Contains(log.String(), "topsecret") {
		t.Errorf("the password shows in %s", log.String())
	}
	if !strings.Contains(log.String(), "as alice") {
		t.Errorf("the Config does not show in %s", log.String())
	}
}

func TestUnusedSecurityWarns(t *testing.T) {
	c, err := load(t, "bootstrap.servers=k:1\nsasl.mechanism=PLAIN\nsasl.password=x\nssl.truststore.type=PEM", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 3 || !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.HasPrefix(w, "sasl.password is not used") }) {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestClientNeedsBrokers(t *testing.T) {
	for _, brokers := range [][]string{nil, {"kafka"}} {
		if _, err := (Config{Brokers: brokers, Seam: seam.World()}).Client(); err == nil {
			t.Errorf("%q made a client", brokers)
		}
	}
}
