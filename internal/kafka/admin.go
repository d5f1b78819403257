package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Admin asks a cluster about itself. Each method tries until it has an answer, an error that time
// does not mend, or the end of its context; while it cannot reach the cluster it says so in the log
// every few seconds. It is safe for concurrent use.
type Admin struct {
	cfg Config
	cl  *kgo.Client
}

// complainEvery is how often a method that keeps trying says so.
const complainEvery = 5 * time.Second

// NewAdmin makes an Admin. It connects at its first use.
func NewAdmin(c Config) (*Admin, error) {
	// franz-go gives up soon, so that the loop in try sees each error: inside franz-go the end of
	// the context would hide it.
	cl, err := c.Client(kgo.RequestRetries(1), kgo.RetryTimeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	return &Admin{cfg: c, cl: cl}, nil
}

// Close closes the connections.
func (a *Admin) Close() { a.cl.Close() }

// Fresh is a new Admin whose client knows nothing yet: it learns leaders and coordinators anew from
// the brokers first given. It is for asking again when an answer may come from a deposed broker.
func (a *Admin) Fresh() (*Admin, error) { return NewAdmin(a.cfg) }

// try calls ask until it succeeds, fails for good, or ctx ends. what completes "cannot ...". Where
// ctx ends within a call, the error says too why the calls before it failed.
func (a *Admin) try(ctx context.Context, what string, ask func() error) error {
	said := a.cfg.Seam.Now()
	var before error
	for tries := 1; ; tries++ {
		err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil && before != nil {
			err = fmt.Errorf("%w (%w)", before, err)
		}
		before = err
		if !Retriable(err) {
			return fmt.Errorf("cannot %s: %w", what, a.cfg.Explain(err))
		}
		if a.cfg.Log != nil && a.cfg.Seam.Since(said) >= complainEvery {
			said = a.cfg.Seam.Now()
			a.cfg.Log.Warn("still trying to "+what, "tries", tries, "error", a.cfg.Explain(err))
		}
		if ended := a.cfg.Seam.Sleep(ctx, a.cfg.backoff(tries)); ended != nil {
			return fmt.Errorf("cannot %s, tried %d times: %w", what, tries, a.cfg.Explain(err))
		}
	}
}

// Reachable waits until a broker answers.
func (a *Admin) Reachable(ctx context.Context) error {
	_, err := a.metadata(ctx, "reach Kafka")
	return err
}

// ClusterID is Kafka's own id of the cluster.
func (a *Admin) ClusterID(ctx context.Context) (string, error) {
	m, err := a.metadata(ctx, "read Kafka's cluster id")
	if err != nil {
		return "", err
	}
	if m.ClusterID == nil || *m.ClusterID == "" {
		return "", errors.New("this Kafka has no cluster id: it is too old (before 0.10.1)")
	}
	return *m.ClusterID, nil
}

// Brokers is the number of brokers that run now.
func (a *Admin) Brokers(ctx context.Context) (int, error) {
	m, err := a.metadata(ctx, "count Kafka's brokers")
	if err != nil {
		return 0, err
	}
	return len(m.Brokers), nil
}

// TransactionVersion is the finalized feature transaction.version, 0 where Kafka does not have it.
// From 2 on, each transaction has an epoch of its own, and a late EndTxn cannot decide another
// transaction.
func (a *Admin) TransactionVersion(ctx context.Context) (version int16, err error) {
	_, version, err = a.Abilities(ctx)
	return version, err
}

func transactionVersion(resp *kmsg.ApiVersionsResponse) (version int16) {
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			version = f.MaxVersionLevel
		}
	}
	return version
}

// Versions are the newest versions that a broker takes of each request, by the request's key. Keys
// that it does not know are absent.
func (a *Admin) Versions(ctx context.Context) (newest map[int16]int16, err error) {
	newest, _, err = a.Abilities(ctx)
	return newest, err
}

// Abilities are Versions and TransactionVersion in one question.
func (a *Admin) Abilities(ctx context.Context) (newest map[int16]int16, transaction int16, err error) {
	newest = map[int16]int16{}
	err = a.try(ctx, "read which requests Kafka takes", func() error {
		resp, err := a.apiVersionsOnce(ctx)
		if err != nil {
			return err
		}
		for _, k := range resp.ApiKeys {
			newest[k.ApiKey] = k.MaxVersion
		}
		transaction = transactionVersion(resp)
		return nil
	})
	return newest, transaction, err
}

func (a *Admin) apiVersionsOnce(ctx context.Context) (*kmsg.ApiVersionsResponse, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "tally", "1"
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return nil, err
	}
	return resp, kerr.ErrorForCode(resp.ErrorCode)
}

// Transaction is a transactional id as its coordinator sees it.
type Transaction struct {
	State      string // Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Dead
	ProducerID int64
	Epoch      int16
	StartMs    int64 // -1 when none is open
	TimeoutMs  int32
	Topics     map[string][]int32 // the partitions that an open one has written to
}

// Open says whether a transaction of the id is open: begun, and neither committed nor aborted yet.
func (t Transaction) Open() bool { return t.State == "Ongoing" }

// DescribeTransaction asks the coordinator about a transactional id; ok is false for one that Kafka
// does not know.
func (a *Admin) DescribeTransaction(ctx context.Context, id string) (t Transaction, ok bool, err error) {
	err = a.try(ctx, fmt.Sprintf("describe the transactional id %q", id), func() error {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{id}
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		if len(resp.TransactionStates) != 1 {
			return fmt.Errorf("the answer is for %d transactional ids, not one", len(resp.TransactionStates))
		}
		s := resp.TransactionStates[0]
		err = kerr.ErrorForCode(s.ErrorCode)
		if errors.Is(err, kerr.TransactionalIDNotFound) {
			return nil
		}
		ok, t = err == nil, Transaction{State: s.State, ProducerID: s.ProducerID, Epoch: s.ProducerEpoch,
			StartMs: s.StartTimestamp, TimeoutMs: s.TimeoutMillis, Topics: map[string][]int32{}}
		for _, topic := range s.Topics {
			t.Topics[topic.Topic] = topic.Partitions
		}
		return err
	})
	return t, ok, err
}
