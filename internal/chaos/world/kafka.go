package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/testkafka"
)

func brokerName(id int) string { return fmt.Sprintf("broker %d", id) }

// startKafka starts the brokers behind the network, and makes the inputs.
func (w *World) startKafka(ctx context.Context) (err error) {
	w.cluster, err = testkafka.Launch(testkafka.Options{
		Nodes: Brokers, Proxy: true,
		Props: map[string]string{
			"default.replication.factor": "3", "min.insync.replicas": "2", "log.cleaner.backoff.ms": "1000",
			"offsets.topic.segment.bytes": "104857600", // what is committed stays to be read
		},
		Route: func(id int, _ testkafka.Listener, target string) (string, error) {
			return w.links.Listen(brokerName(id), target)
		},
		OnStart: w.brokerStarted,
	})
	if err != nil {
		return err
	}
	for id := 1; id <= Brokers; id++ {
		w.cluster.Proxy(id).OnCommit(func(producer int64, epoch int16) {
			w.write(history.Event{Kind: history.KindCommit, Commit: &history.Commit{Producer: producer, Epoch: epoch}})
		})
	}
	if w.kafka, err = kgo.NewClient(kgo.SeedBrokers(w.cluster.Addrs()...), kgo.ClientID("chaos"), kgo.DisableClientMetrics()); err != nil {
		return err
	}
	w.admin = kadm.NewClient(w.kafka)
	for _, a := range w.apps {
		if a.Passing {
			continue
		}
		made, err := w.admin.CreateTopics(ctx, Partitions, Brokers, map[string]*string{"min.insync.replicas": kadm.StringPtr("2")}, a.Input)
		if err == nil {
			err = made.Error()
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", a.Input, err)
		}
	}
	return nil
}

func (w *World) brokerStarted(id, pid int) {
	name := brokerName(id)
	w.links.Register(name, pid)
	w.mu.Lock()
	w.broken[name]++
	start := w.broken[name]
	w.mu.Unlock()
	w.write(history.Event{Kind: history.KindProcess, Process: &history.Process{Name: name, Start: start, Pid: pid, Started: time.Now()}})
}

// controller is the broker whose controller leads.
func (w *World) controller(ctx context.Context) (int, error) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, w.kafka)
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.LeaderID >= 1 {
				return int(p.LeaderID), nil
			}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return 0, err
			}
		}
	}
	return 0, errors.New("no controller leads")
}

// ledBy is how many partitions a broker leads, as the others have it.
func (w *World) ledBy(ctx context.Context, id int) (led int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // the one that is asked may be the one that hangs
	defer cancel()
	md, err := w.admin.Metadata(ctx)
	md.Topics.EachPartition(func(p kadm.PartitionDetail) {
		if int(p.Leader) == id {
			led++
		}
	})
	return led, err
}

// alterTopics sets a configuration of topics, or with nil takes it back.
func (w *World) alterTopics(ctx context.Context, topics []string, settings map[string]*string) error {
	var alter []kadm.AlterConfig
	for name, value := range settings {
		op := kadm.SetConfig
		if value == nil {
			op = kadm.DeleteConfig
		}
		alter = append(alter, kadm.AlterConfig{Op: op, Name: name, Value: value})
	}
	answers, err := w.admin.AlterTopicConfigs(ctx, alter, topics...)
	for _, a := range answers {
		err = errors.Join(err, a.Err)
	}
	return err
}

// ends are where all topics of the apps that run all the time end.
func (w *World) ends(ctx context.Context) ([]history.Topic, error) {
	var topics []string
	for _, a := range w.apps {
		if a.Passing {
			continue
		}
		topics = append(topics, a.Input, a.Output, a.Changelog, a.Dead)
		if a.Repartition != "" {
			topics = append(topics, a.Repartition)
		}
	}
	starts, err1 := w.admin.ListStartOffsets(ctx, topics...)
	ends, err2 := w.admin.ListEndOffsets(ctx, topics...)
	stable, err3 := w.admin.ListCommittedOffsets(ctx, topics...)
	if err := errors.Join(err1, err2, err3, ends.Error(), stable.Error()); err != nil {
		return nil, err
	}
	var found []history.Topic
	ends.Each(func(o kadm.ListedOffset) {
		at := history.Topic{Topic: o.Topic, Partition: o.Partition, End: o.Offset}
		if s, ok := stable.Lookup(o.Topic, o.Partition); ok {
			at.LastStable = s.Offset
		}
		if s, ok := starts.Lookup(o.Topic, o.Partition); ok {
			at.Start = s.Offset
		}
		found = append(found, at)
	})
	return found, nil
}

// saveBrokerLogs copies the brokers' logs into the folder, before they go with the cluster.
func (w *World) saveBrokerLogs() {
	for id := 1; id <= Brokers; id++ {
		from, err := os.Open(w.cluster.Log(id))
		if err != nil {
			continue
		}
		to, err := os.Create(filepath.Join(w.opt.Dir, history.LogDir, fmt.Sprintf("broker-%d.log", id)))
		if err == nil {
			_, _ = io.Copy(to, from)
			_ = to.Close()
		}
		_ = from.Close()
	}
}
