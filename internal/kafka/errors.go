package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrTopicExists is what Create answers when the topic is there already.
var ErrTopicExists = errors.New("the topic exists already")

// ErrNoTopic says that a topic whose offsets were asked for is not there, as far as the broker that
// was asked knows: it may have been made a moment ago.
var ErrNoTopic = errors.New("there is no topic")

// tlsError is a handshake that failed; franz-go's own text does not say with whom.
type tlsError struct {
	addr string
	err  error
}

func (e *tlsError) Error() string { return fmt.Sprintf("TLS with %s: %v", e.addr, e.err) }
func (e *tlsError) Unwrap() error { return e.err }

// Retriable says whether the same request may succeed a little later: the broker said so, or it
// could not be reached. A refused password or certificate is not retriable, and neither is the end
// of the caller's own context.
func Retriable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var handshake *tlsError
	if errors.As(err, &handshake) {
		return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) // it is starting or stopping
	}
	var code *kerr.Error
	if errors.As(err, &code) {
		return code.Retriable || errors.Is(err, kerr.UnstableOffsetCommit) ||
			errors.Is(err, kerr.ConcurrentTransactions)
	}
	var shards *kadm.ShardErrors
	if errors.As(err, &shards) {
		return len(shards.Errs) > 0 && Retriable(shards.Errs[0].Err)
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || kgo.IsRetryableBrokerErr(err)
}

// Explain adds to an error what a user can do about it. The error itself stays inside.
func (c Config) Explain(err error) error {
	if err == nil {
		return nil
	}
	if advice := c.advice(err); advice != "" {
		return fmt.Errorf("%w: %s", err, advice)
	}
	return err
}

func (c Config) advice(err error) string {
	if a := c.adviceNetwork(err); a != "" {
		return a
	}
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Sprintf("Kafka refused the user %q or its password; see sasl.* in the --kafka-config file", c.user)
	case errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return "this listener does not offer that sasl.mechanism; see the brokers' sasl.enabled.mechanisms"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "the user needs more rights on this topic (kafka-acls --topic)"
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return "the user needs READ and DESCRIBE on this consumer group (kafka-acls --group)"
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return "the user needs WRITE and DESCRIBE on this transactional id (kafka-acls --transactional-id)"
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return "the user needs more rights on the cluster (kafka-acls --cluster)"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return "the cluster has too few brokers for that replication factor"
	}
	return ""
}

func (c Config) adviceNetwork(err error) string {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var first *kgo.ErrFirstReadEOF
	at := strings.Join(c.Brokers, ",")
	switch {
	case errors.As(err, &unknown):
		return "the broker's certificate is of an unknown authority; name that authority in ssl.truststore.location (PEM)"
	case errors.As(err, &name):
		return "the broker's certificate is not for this host name; correct the address, " +
			"or set ssl.endpoint.identification.algorithm= (empty) to accept it"
	case errors.As(err, &record):
		return "this listener does not speak TLS; use its TLS port, or a security.protocol without SSL"
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s is not known here; see the brokers given (%s)", dns.Name, at)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no Kafka listens there; start it, or correct the brokers given (%s)", at)
	case errors.As(err, &first), errors.Is(err, io.EOF), strings.Contains(err.Error(), "tls alert"):
		return "the broker closed the connection; it is starting or stopping, or this listener wants " +
			"another security.protocol than " + c.security()
	}
	return ""
}
