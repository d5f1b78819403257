package kafka

import (
	"crypto/tls"
	"log/slog"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
)

// Config says how to reach a cluster. Copies are independent; it is not changed after Load.
type Config struct {
	Brokers  []string // host:port, at least one
	TLS      *tls.Config
	SASL     []sasl.Mechanism
	ClientID string
	Seam     seam.Seam
	Log      *slog.Logger // nil: nothing is logged
	Warnings []string     // what Load ignored, for the user
}

// Load reads a Java client.properties ("" for none).
func Load(brokers []string, propertiesFile string, env func(string) string, s seam.Seam) (Config, error) {
	panic("not yet")
}

// Client makes a franz-go client; opts come last and win.
func (c Config) Client(opts ...kgo.Opt) (*kgo.Client, error) { panic("not yet") }
