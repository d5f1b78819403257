package node

import (
	"context"
	"errors"

	"github.com/tally-kafka/tally/internal/kafka"
)

// checkTopics refuses topics that are no longer those that the app counts, and a changelog that
// Kafka is about to delete counts from. A client that produces by name would go on with a topic of
// the same name that was made anew.
func (a *app) checkTopics(ctx context.Context) error {
	type named struct {
		what string
		kafka.Topic
	}
	topics := []named{{"input topic", a.input}, {"changelog", a.changelog}}
	if a.repartitions > 0 {
		topics = append(topics, named{"repartition topic", a.repartition})
	}
	for _, t := range topics {
		now, err := a.stillThere(ctx, t.what, t.Topic)
		if err != nil {
			return err
		}
		if t.Name == a.changelog.Name {
			if err := a.refuseDeletion(now); err != nil {
				return err
			}
		}
	}
	return nil
}

// stillThere gives a topic as it is now, and refuses one that was deleted or made again.
func (a *app) stillThere(ctx context.Context, what string, t kafka.Topic) (now kafka.Topic, err error) {
	now, ok, err := a.node.admin.Topic(ctx, t.Name)
	if err == nil && !ok {
		err = &ReplacedError{App: a.name(), Topic: what + " " + t.Name, Stored: t.ID}
	}
	if err != nil {
		return now, err
	}
	return now, a.sameTopic(what, t.Name, t.ID, now.ID)
}

// refuseDeletion refuses a changelog whose old records Kafka deletes by age or size.
func (a *app) refuseDeletion(changelog kafka.Topic) error {
	policy, known := changelog.Configs["cleanup.policy"]
	if !known || policy == "compact" {
		return nil
	}
	return &RetentionError{Changelog: changelog.Name, Policy: policy, Broker: a.node.kafka.Brokers[0]}
}

// watchTopics looks at the topics from time to time while the lanes run, and ends their stays when
// something is wrong with them: each lane then finds it at its next acquire, and says it.
func (a *app) watchTopics(ctx context.Context) {
	for a.node.cfg.Seam.Sleep(ctx, a.node.cfg.TopicsInterval) == nil {
		bounded, cancel := context.WithTimeout(ctx, a.node.cfg.UnreachableAt)
		err := a.checkTopics(bounded)
		cancel()
		if !errors.As(err, new(*ReplacedError)) && !errors.As(err, new(*RetentionError)) {
			continue // well, or not to be known now
		}
		for _, l := range a.lanes {
			l.endStay(err)
		}
	}
}

// endStay ends the stay that the lane is in, if any, with an error.
func (l *lane) endStay(err error) {
	l.mu.Lock()
	end := l.endOfStay
	l.mu.Unlock()
	if end != nil {
		end(err)
	}
}

func (l *lane) setEndOfStay(end context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endOfStay = end
}
