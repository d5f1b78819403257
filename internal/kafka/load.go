package kafka

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/internal/seam"
)

// envPrefix begins the variables that override the file: TALLY_KAFKA_SASL_PASSWORD for
// sasl.password.
const envPrefix = "TALLY_KAFKA_"

// known are the keys that tally uses.
var known = []string{
	"bootstrap.servers", "client.id", "security.protocol",
	"sasl.mechanism", "sasl.jaas.config", "sasl.username", "sasl.password",
	"ssl.truststore.type", "ssl.truststore.location", "ssl.truststore.certificates",
	"ssl.keystore.type", "ssl.keystore.location", "ssl.keystore.certificate.chain", "ssl.keystore.key",
	"ssl.endpoint.identification.algorithm", "ssl.enabled.protocols",
}

// refused are keys without which the client would not do what its user believes.
var refused = map[string]string{
	"ssl.key.password":                   "tally reads private keys that are not encrypted; decrypt it with `openssl pkey` and keep it readable to tally only",
	"ssl.keystore.password":              "a PEM key store has no password; convert the store to PEM and set ssl.keystore.type=PEM",
	"ssl.truststore.password":            "a PEM trust store has no password; convert the store to PEM and set ssl.truststore.type=PEM",
	"sasl.client.callback.handler.class": "Java classes cannot be loaded",
	"sasl.login.callback.handler.class":  "Java classes cannot be loaded",
	"ssl.engine.factory.class":           "Java classes cannot be loaded",
}

// harmless begin those security keys that change nothing for the mechanisms that tally has. Other
// keys of security, ssl and sasl are refused: a typing error there must not be passed over.
var harmless = []string{
	"ssl.protocol", "ssl.provider", "ssl.secure.random.implementation",
	"ssl.keymanager.algorithm", "ssl.trustmanager.algorithm", "sasl.kerberos.", "sasl.login.", "security.providers",
}

// Load reads a Java client.properties ("" for none). The given brokers win over bootstrap.servers,
// and variables TALLY_KAFKA_* over the file. A value may contain ${env:NAME}. What it leaves
// unused is in Warnings.
func Load(brokers []string, propertiesFile string, env func(string) string, s seam.Seam) (Config, error) {
	l := &loading{file: propertiesFile, env: env, values: map[string]string{}}
	if err := l.readFile(); err != nil {
		return Config{}, err
	}
	if err := l.readEnv(); err != nil {
		return Config{}, err
	}
	c := Config{Seam: s, ClientID: l.values["client.id"], Brokers: brokers}
	if len(c.Brokers) == 0 {
		c.Brokers = list(l.values["bootstrap.servers"])
	}
	if err := l.secure(&c); err != nil {
		return Config{}, err
	}
	c.Warnings = l.warnings
	return c, nil
}

// list takes a comma-separated list apart.
func list(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// loading collects values. Its errors name keys and never values.
type loading struct {
	file     string
	env      func(string) string
	values   map[string]string
	warnings []string
}

func (l *loading) readFile() error {
	if l.file == "" {
		return nil
	}
	text, err := os.ReadFile(l.file)
	if err != nil {
		return fmt.Errorf("read --kafka-config: %w", err)
	}
	props, err := parseProperties(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", l.file, err)
	}
	for _, p := range props {
		if err := l.take(p); err != nil {
			return fmt.Errorf("%s:%d: %w", l.file, p.line, err)
		}
	}
	return nil
}

func (l *loading) take(p property) error {
	if why, ok := refused[p.key]; ok {
		return fmt.Errorf("%s is not supported: %s", p.key, why)
	}
	if slices.Contains(known, p.key) {
		v, err := expandEnv(p.value, l.env)
		if err != nil {
			return fmt.Errorf("%s: %w", p.key, err)
		}
		l.values[p.key] = strings.TrimSpace(v)
		return nil
	}
	if !l.passable(p.key) {
		return fmt.Errorf("%s is not supported; known are %s", p.key, strings.Join(known, ", "))
	}
	l.warn("%s:%d: %s is not used by tally", l.file, p.line, p.key)
	return nil
}

func (l *loading) passable(key string) bool {
	for _, prefix := range harmless {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return !strings.HasPrefix(key, "ssl.") && !strings.HasPrefix(key, "sasl.") && !strings.HasPrefix(key, "security.")
}

func (l *loading) readEnv() error {
	for _, key := range known {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		if v := l.env(name); v != "" {
			l.values[key] = v
		}
	}
	return nil
}

func (l *loading) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}
