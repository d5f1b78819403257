package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
)

// Config says how to reach a cluster. It is not changed after Load; copies share its parts.
type Config struct {
	Brokers  []string // host:port, at least one
	TLS      *tls.Config
	SASL     []sasl.Mechanism
	ClientID string // "": tally
	Seam     seam.Seam
	Log      *slog.Logger // nil: nothing is logged
	// DialTimeout bounds one connection, with TLS; zero: 4 s.
	DialTimeout time.Duration
	Warnings    []string // what Load left unused, in sentences for the user

	user string // of SASL, for String only; the password lies in SASL alone
}

// Back-offs between tries. Kafka's own defaults (250 ms to 5 s) would hold a lane up for seconds
// after errors that a broker mends in milliseconds.
const (
	backoffMin     = 20 * time.Millisecond
	backoffMax     = time.Second
	metadataMinAge = 50 * time.Millisecond
	metadataMaxAge = time.Minute

	// dialTimeout bounds one connection. Where one of several brokers is a host that swallows what
	// is sent to it, a command that has ten seconds must get to another one.
	dialTimeout = 4 * time.Second

	// requestTimeout is how long a broker is waited for beyond the time that a request itself
	// grants it, before the connection counts as dead. With franz-go's 10 s, and 10 s more for a
	// produce, a frozen broker held a lane up for half a minute and longer after others had taken
	// its partitions over.
	requestTimeout = 5 * time.Second

	unknownTopicRetries = 40
)

// Client makes a franz-go client. It connects at its first use. The options given come after those
// that hold for every client, and win.
func (c Config) Client(opts ...kgo.Opt) (*kgo.Client, error) {
	if len(c.Brokers) == 0 {
		return nil, fmt.Errorf("no Kafka brokers are named: give --brokers, or bootstrap.servers in --kafka-config")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return nil, fmt.Errorf("broker %q is not HOST:PORT; %s:9092 is what a default Kafka listens on", b, b)
		}
	}
	id := c.ClientID
	if id == "" {
		id = "tally"
	}
	all := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(id),
		kgo.Dialer(c.dial),
		kgo.DisableClientMetrics(),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.MetadataMaxAge(metadataMaxAge),
		kgo.RetryBackoffFn(c.backoff),
		kgo.RequestTimeoutOverhead(requestTimeout),
		kgo.ProduceRequestTimeout(requestTimeout),
		// With metadata asked for so often, franz-go's four tries would be over before each broker
		// of a cluster has heard of a new topic.
		kgo.UnknownTopicRetries(unknownTopicRetries),
		// franz-go would choose snappy, which kafka-python cannot read without a further library.
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
	if len(c.SASL) > 0 {
		all = append(all, kgo.SASL(c.SASL...))
	}
	if to := c.Logger(); to != nil {
		all = append(all, kgo.WithLogger(to))
	}
	cl, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return cl, nil
}

// dial is connect within dialTimeout. A broker that does not answer by then looks as it does to the
// system's own connect, so that the next one is asked, and not like the end of the caller's time.
func (c Config) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	bound := c.DialTimeout
	if bound == 0 {
		bound = dialTimeout
	}
	inner, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	conn, err := c.connect(inner, network, addr)
	if err != nil && inner.Err() != nil && ctx.Err() == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: hostPort(addr), Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}
	}
	return conn, err
}

// hostPort is an address as it was given.
type hostPort string

func (hostPort) Network() string  { return "tcp" }
func (h hostPort) String() string { return string(h) }

// connect connects through the seam and, when asked for, speaks TLS to the host that was named.
func (c Config) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := c.Seam.Dial(ctx, network, addr)
	if err != nil || c.TLS == nil {
		return conn, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	own := c.TLS.Clone()
	own.ServerName = host
	secure := tls.Client(conn, own)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &tlsError{addr, err}
	}
	return secure, nil
}

// backoff doubles from backoffMin to backoffMax. Its jitter keeps many clients from retrying in
// step.
func (c Config) backoff(tries int) time.Duration {
	d := backoffMin << min(max(tries-1, 0), 10)
	return c.Seam.Jitter(min(d, backoffMax))
}

// security names what is spoken, as security.protocol does.
func (c Config) security() string {
	switch {
	case c.TLS != nil && len(c.SASL) > 0:
		return "SASL_SSL"
	case c.TLS != nil:
		return "SSL"
	case len(c.SASL) > 0:
		return "SASL_PLAINTEXT"
	}
	return "PLAINTEXT"
}

// String names brokers, security and user, and no secret.
func (c Config) String() string {
	s := fmt.Sprintf("%s (%s", strings.Join(c.Brokers, ","), c.security())
	for _, m := range c.SASL {
		s += " " + m.Name()
	}
	if c.user != "" {
		s += " as " + c.user
	}
	return s + ")"
}

// GoString keeps %#v from printing the parts.
func (c Config) GoString() string { return c.String() }

// LogValue is String: a Config in a log line shows no secret.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Logger is where what franz-go says goes to; nil for nowhere.
func (c Config) Logger() kgo.Logger {
	if c.Log == nil {
		return nil
	}
	return debugLog{c.Log}
}

// debugLog hands franz-go's log to slog, all of it at the debug level: what matters to a user comes
// back as an error.
type debugLog struct{ to *slog.Logger }

func (l debugLog) Level() kgo.LogLevel {
	if l.to.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelDebug
	}
	return kgo.LogLevelNone
}

func (l debugLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	l.to.Debug("franz-go: "+msg, append(keyvals, "franz_level", level.String())...)
}
