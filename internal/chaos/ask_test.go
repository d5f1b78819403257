package chaos

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// oneBroker asks one broker and no other, whatever that broker says of itself.
type oneBroker struct {
	id int32
	cl *kgo.Client
}

func (s *suite) broker(t testing.TB, id int32) oneBroker {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.cluster.Addrs()[id-1]), kgo.DisableClientMetrics(), kgo.RequestRetries(0),
		kgo.MaxVersions(kversion.V3_8_0())) // which name topics, where newer ones have ids
	must(t, err)
	t.Cleanup(cl.Close)
	return oneBroker{id, cl}
}

func (b oneBroker) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return b.cl.SeedBrokers()[0].Request(ctx, req)
}

// leaders are those of a topic's partitions.
func (b oneBroker) leaders(ctx context.Context, topic string) (map[int32]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := b.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	of := map[int32]int32{}
	for _, p := range resp.(*kmsg.MetadataResponse).Topics[0].Partitions {
		if p.ErrorCode == 0 {
			of[p.Partition] = p.Leader
		}
	}
	return of, nil
}

// coordinators of consumer groups, or of transactional ids.
func (b oneBroker) coordinators(ctx context.Context, transactions bool, names ...string) (map[string]int32, error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKeys = names
	if transactions {
		req.CoordinatorType = 1
	}
	resp, err := b.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	of := map[string]int32{}
	for _, c := range resp.(*kmsg.FindCoordinatorResponse).Coordinators {
		if err := kerr.ErrorForCode(c.ErrorCode); err != nil {
			return nil, err
		}
		of[c.Key] = c.NodeID
	}
	return of, nil
}

// ends are the last stable offsets of the partitions that the broker believes to lead.
func (b oneBroker) ends(ctx context.Context, topic string) (map[string]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, 1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range int32(partitions) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, -1
		t.Partitions = append(t.Partitions, part)
	}
	req.Topics = append(req.Topics, t)
	resp, err := b.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	of := map[string]int64{}
	for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		if p.ErrorCode == 0 {
			of[fmt.Sprintf("%s/%d", topic, p.Partition)] = p.Offset
		}
	}
	return of, nil
}

// offsets are the stable committed offsets of a group, if the broker believes to coordinate it.
func (b oneBroker) offsets(ctx context.Context, group, topic string) (map[string]int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic = topic
	for p := range int32(partitions) {
		t.Partitions = append(t.Partitions, p)
	}
	g.Topics = append(g.Topics, t)
	req.Groups = append(req.Groups, g)
	resp, err := b.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	of := map[string]int64{}
	for _, g := range resp.(*kmsg.OffsetFetchResponse).Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if g.ErrorCode == 0 && p.ErrorCode == 0 {
					of[fmt.Sprintf("offset %d", p.Partition)] = p.Offset
				}
			}
		}
	}
	return of, nil
}

// epochs are the producer epochs of the transactional ids that the broker believes to coordinate.
func (b oneBroker) epochs(ctx context.Context, ids []string) (map[string]int64, error) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = ids
	resp, err := b.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	of := map[string]int64{}
	for _, s := range resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
		if s.ErrorCode == 0 {
			of[s.TransactionalID] = int64(s.ProducerEpoch)
		}
	}
	return of, nil
}

// What a deposed broker can give an old answer to. All of it only grows or, with leadership, is
// known to be over.
const (
	lieEnds    = "ListOffsets of the changelog"
	lieInput   = "ListOffsets of the input"
	lieOffsets = "OffsetFetch"
	lieEpoch   = "DescribeTransactions"
	lieLeader  = "Metadata"
)

var lieNames = []string{lieEnds, lieInput, lieOffsets, lieEpoch, lieLeader}

// lies count old answers without an error, by what was asked.
type lies map[string]int

func (l lies) add(o lies) {
	for what, n := range o {
		l[what] += n
	}
}

func (l lies) String() string {
	var parts []string
	for _, what := range lieNames {
		if l[what] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", what, l[what]))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// questions are all that can be answered old, to one broker.
func (j *job) questions(b oneBroker) map[string]func(context.Context) (map[string]int64, error) {
	return map[string]func(context.Context) (map[string]int64, error){
		lieEnds:    func(ctx context.Context) (map[string]int64, error) { return b.ends(ctx, j.app+".changelog") },
		lieInput:   func(ctx context.Context) (map[string]int64, error) { return b.ends(ctx, j.input()) },
		lieOffsets: func(ctx context.Context) (map[string]int64, error) { return b.offsets(ctx, j.app, j.input()) },
		lieEpoch:   func(ctx context.Context) (map[string]int64, error) { return b.epochs(ctx, laneIDs(j.app)) },
		lieLeader: func(ctx context.Context) (map[string]int64, error) { // 0: it says that it leads
			leaders, err := b.leaders(ctx, j.app+".changelog")
			of := map[string]int64{}
			for p, l := range leaders {
				of[fmt.Sprintf("leader of %d", p)] = min(1, max(int64(l-b.id), int64(b.id-l)))
			}
			return of, err
		},
	}
}

// truth is what the brokers other than the stopped one say, once they say it all: a new coordinator
// reads its log first.
func (j *job) truth(stopped int32) (truth map[string]int64) {
	j.t.Helper()
	want := 4*partitions + deposedLanes
	eventually(j.t, 20*time.Second, "the other brokers say all", func() string {
		if truth = j.saidWithout(stopped); len(truth) < want {
			return fmt.Sprintf("%d things, not %d: %v", len(truth), want, truth)
		}
		return ""
	})
	return truth
}

func (j *job) saidWithout(stopped int32) map[string]int64 {
	j.t.Helper()
	truth := map[string]int64{}
	for id := int32(1); id <= 3; id++ {
		if id == stopped {
			continue
		}
		for what, question := range j.questions(j.s.broker(j.t, id)) {
			answer, err := question(j.ctx)
			must(j.t, err)
			if what == lieLeader {
				continue
			}
			maps.Copy(truth, answer)
		}
	}
	for p := range partitions {
		truth[fmt.Sprintf("leader of %d", p)] = 1
	}
	return truth
}

// probe asks a broker everything again and again.
type probe struct {
	mu      sync.Mutex
	answers map[string][]map[string]int64
	end     context.CancelFunc
	asking  sync.WaitGroup
}

func (j *job) probe(b int32) *probe {
	ctx, cancel := context.WithCancel(j.ctx)
	p := &probe{answers: map[string][]map[string]int64{}, end: cancel}
	for what := range j.questions(oneBroker{}) {
		question := j.questions(j.s.broker(j.t, b))[what] // each with a connection of its own
		p.asking.Go(func() {
			for ctx.Err() == nil {
				if answer, err := question(ctx); err == nil {
					p.mu.Lock()
					p.answers[what] = append(p.answers[what], answer)
					p.mu.Unlock()
				}
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	return p
}

// stop ends the asking, and counts the answers in which a number is below the truth of before.
func (p *probe) stop(truth map[string]int64) lies {
	p.end()
	p.asking.Wait()
	told := lies{}
	for what, answers := range p.answers {
		for _, answer := range answers {
			for name, n := range answer {
				if n < truth[name] {
					told[what]++
					break
				}
			}
		}
	}
	return told
}
