package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
)

// looker gathers the facts.
type looker struct {
	opt   Options
	admin *kafka.Admin
}

// ask bounds one question.
func ask[T any](ctx context.Context, l looker, question func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opt.Patience)
	defer cancel()
	return question(ctx)
}

func asked[T any](ctx context.Context, l looker, question func(context.Context) (T, error)) answer[T] {
	v, err := ask(ctx, l, question)
	return answer[T]{v, err}
}

func (l looker) look(ctx context.Context) *facts {
	f := &facts{
		now:          l.opt.Kafka.Seam.Now(),
		commands:     commands{brokers: l.opt.Kafka.Brokers, configFile: l.opt.KafkaConfig},
		clusterID:    asked(ctx, l, l.admin.ClusterID),
		brokers:      asked(ctx, l, l.admin.EachBroker),
		guess:        asked(ctx, l, l.admin.VersionGuess),
		requests:     asked(ctx, l, l.admin.Versions),
		transactions: asked(ctx, l, l.admin.TransactionVersion),
		node:         l.opt.Node,
	}
	f.settings = l.settings(ctx, f.brokers)
	for _, app := range l.opt.Apps {
		f.apps = append(f.apps, l.lookApp(ctx, f, app))
	}
	f.machine = lookMachine(l.opt.DataDir)
	return f
}

// settings are those of each broker that answers.
func (l looker) settings(ctx context.Context, brokers answer[[]kafka.Broker]) answer[map[int32]map[string]string] {
	all := map[int32]map[string]string{}
	for _, b := range brokers.v {
		if b.Err != nil {
			continue
		}
		a := asked(ctx, l, func(ctx context.Context) (map[string]string, error) { return l.admin.BrokerConfigs(ctx, b.ID) })
		if a.err != nil {
			return answer[map[int32]map[string]string]{err: a.err}
		}
		all[b.ID] = a.v
	}
	return answer[map[int32]map[string]string]{all, brokers.err}
}

func (l looker) lookApp(ctx context.Context, f *facts, app App) *appFacts {
	a := &appFacts{App: app}
	read, write := kafka.RightRead, kafka.RightWrite
	a.input = l.topic(ctx, app.Input, "input", kafka.RightDescribeConfigs, read)
	if app.Output != "" {
		a.output = l.topic(ctx, app.Output, "output", read, write) // a first start looks at its end
		l.tryCreate(ctx, &a.output, a.input.Partitions)
	}
	a.changelog = l.topic(ctx, app.Changelog(), "changelog", read, write)
	l.tryCreate(ctx, &a.changelog, a.input.Partitions)
	if app.DeadLetters {
		a.dead = l.topic(ctx, app.Dead(), "dead letters", write)
		l.tryCreate(ctx, &a.dead, a.input.Partitions)
	}
	l.group(ctx, a)
	if a.input.there {
		l.offsets(ctx, f, a)
	}
	l.second(ctx, a)
	l.transact(ctx, a)
	l.transactions(ctx, a)
	return a
}

func (l looker) topic(ctx context.Context, name, role string, needs ...kafka.Right) topic {
	t := topic{role: role, needs: needs}
	_, t.err = ask(ctx, l, func(ctx context.Context) (_ bool, err error) {
		t.Topic, t.there, err = l.admin.Topic(ctx, name)
		return t.there, err
	})
	t.Name = name
	_, t.rights.err = ask(ctx, l, func(ctx context.Context) (_ bool, err error) {
		t.rights.v, t.known, err = l.admin.TopicRights(ctx, name)
		return t.known, err
	})
	return t
}

// tryCreate asks whether tally could make a topic that is not there.
func (l looker) tryCreate(ctx context.Context, t *topic, partitions int) {
	if t.there || t.err != nil {
		return
	}
	_, t.create = ask(ctx, l, func(ctx context.Context) (bool, error) {
		return true, l.admin.TryCreate(ctx, kafka.TopicSpec{Name: t.Name, Partitions: max(partitions, 1), Replication: -1})
	})
}

func (l looker) group(ctx context.Context, a *appFacts) {
	a.members = asked(ctx, l, func(ctx context.Context) (int, error) {
		n, _, err := l.admin.GroupMembers(ctx, a.Name)
		return n, err
	})
	_, a.mayOffsets = ask(ctx, l, func(ctx context.Context) (bool, error) { return true, l.admin.TryOffsets(ctx, a.Name) })
}

// transact asks whether each lane may commit: first with an id that no lane has, and where that is
// denied with the lanes' own, since rights may be given by name, or for a prefix that some lack.
func (l looker) transact(ctx context.Context, a *appFacts) {
	try := func(id string) error {
		_, err := ask(ctx, l, func(ctx context.Context) (bool, error) { return true, l.admin.TryTransaction(ctx, id) })
		return err
	}
	prefix := a.Name + ".lane-"
	a.transactedAs = prefix + "*"
	a.mayTransact = try(prefix + "doctor-" + l.opt.Kafka.Seam.NewID())
	if !kafka.Denied(a.mayTransact) {
		return
	}
	lanes := a.laneCount()
	a.transactedAs, a.mayTransact = fmt.Sprintf("%s0 to %d", prefix, lanes-1), nil
	for k := 0; k < lanes && a.mayTransact == nil; k++ {
		if a.mayTransact = try(fmt.Sprint(prefix, k)); a.mayTransact != nil {
			a.transactedAs = fmt.Sprint(prefix, k)
		}
	}
}

// laneCount is how many lanes the app has, or will have after its first start.
func (a *appFacts) laneCount() int {
	for _, positions := range []map[int32]position{a.positions.v, a.second.positions.v} {
		for _, pos := range positions {
			if !pos.newer && pos.Lanes > 0 {
				return pos.Lanes
			}
		}
	}
	const unlessSaid = 4
	return max(1, min(max(a.input.Partitions, a.repartitions), cmp.Or(a.Lanes, unlessSaid)))
}

// offsetsTries is how often offsets and positions that disagree are read again, a pause apart: for
// some milliseconds after a commit a broker may answer with either of the old ones.
const (
	offsetsTries = 4
	offsetsPause = 500 * time.Millisecond
)

// offsets are read in an order in which a running node can only move away from a false alarm: the
// group's offsets, then the positions, then the offsets again and the input's end.
func (l looker) offsets(ctx context.Context, f *facts, a *appFacts) {
	for try := 1; ; try++ {
		a.offsets = asked(ctx, l, l.groupOffsets(a))
		if a.changelog.there {
			a.positions, a.second.positions = l.positions(ctx, a)
			a.offsetsAfter = asked(ctx, l, l.groupOffsets(a))
		}
		if try == offsetsTries || a.first().agree() || l.opt.Kafka.Seam.Sleep(ctx, offsetsPause) != nil {
			break
		}
	}
	a.ends = asked(ctx, l, func(ctx context.Context) (map[int32]int64, error) {
		return l.admin.EndOffsets(ctx, a.Input, false)
	})
	a.starts = asked(ctx, l, func(ctx context.Context) (map[int32]int64, error) { return l.admin.StartOffsets(ctx, a.Input) })
	keeps, err := strconv.ParseInt(a.input.Configs["retention.ms"], 10, 64)
	if err != nil || keeps <= 0 {
		return
	}
	at := func(ago int64) answer[map[int32]int64] {
		return asked(ctx, l, func(ctx context.Context) (map[int32]int64, error) {
			return l.admin.OffsetsAt(ctx, a.Input, f.now.UnixMilli()-ago)
		})
	}
	a.half, a.expired = at(keeps/2), at(keeps)
}

func (l looker) groupOffsets(a *appFacts) func(context.Context) (map[int32]int64, error) {
	return func(ctx context.Context) (map[int32]int64, error) { return l.admin.GroupOffsets(ctx, a.Name, a.Input) }
}

// agree tells whether no offset is beyond its position, or has stayed below it.
func (r read) agree() bool {
	for p, pos := range r.positions.v {
		committed, has := r.offsets.v[p]
		if has && (committed > pos.Input || r.offsetsAfter.v[p] < pos.Input) {
			return false
		}
	}
	return true
}

// positions reads the last position record of each stage in each changelog partition.
func (l looker) positions(ctx context.Context, a *appFacts) (first, second answer[map[int32]position]) {
	var found [2]map[int32]position
	for stage := range found {
		found[stage] = map[int32]position{}
	}
	repartitions := 0
	for p := range int32(a.changelog.Partitions) {
		_, err := ask(ctx, l, func(ctx context.Context) (bool, error) {
			var broken error
			err := l.admin.TailBytes(ctx, a.changelog.Name, p, func(key, value []byte) bool {
				pos, stage, ok, err := decodePosition(key, value)
				if _, has := found[stage][p]; ok && !has {
					found[stage][p] = pos
					repartitions = max(repartitions, pos.Repartitions)
				}
				broken = err
				_, has0 := found[0][p]
				_, has1 := found[1][p]
				whole := (has0 || int(p) >= a.input.Partitions) && (has1 || int(p) >= repartitions)
				return ok && (whole || pos.newer) || err != nil
			})
			if err == nil {
				err = broken
			}
			return true, err
		})
		if err != nil {
			return answer[map[int32]position]{err: err}, answer[map[int32]position]{err: err}
		}
	}
	return answer[map[int32]position]{v: found[0]}, answer[map[int32]position]{v: found[1]}
}

// What a position record begins with, key and value: a format byte, then 'p'. A larger format is of
// a newer tally.
const (
	changelogFormat = 1
	positionKind    = 'p'
	secondStage     = 1 // the third byte: which stage's it is
)

// decodePosition reads the few fields that are judged here, for itself: the doctor does not depend
// on the code whose records it looks at.
func decodePosition(key, value []byte) (p position, stage byte, ok bool, err error) {
	if len(key) > 0 && key[0] > changelogFormat {
		return position{newer: true}, 0, true, nil
	}
	if len(key) < 3 || key[1] != positionKind || key[2] > secondStage || len(value) < 2 {
		return p, 0, false, nil
	}
	if err := json.Unmarshal(value[2:], &p); err != nil {
		return p, 0, false, err
	}
	return p, key[2], true, nil
}

// transactions looks twice, with the coordinators' word in between: what is still there at the
// second look was open while its coordinator was asked.
func (l looker) transactions(ctx context.Context, a *appFacts) {
	first := l.openOn(ctx, a)
	if first.err != nil || len(first.v) == 0 {
		a.open = first
		return
	}
	described := l.describe(ctx, first.v)
	a.askedAt = l.opt.Kafka.Seam.Now()
	a.unseen = nil
	second := l.openOn(ctx, a)
	if second.err != nil {
		a.open = second
		return
	}
	for _, o := range described {
		if slices.ContainsFunc(second.v, func(s openTransaction) bool {
			return s.Topic == o.Topic && s.Partition == o.Partition && s.ProducerID == o.ProducerID && s.StartOffset == o.StartOffset
		}) {
			a.open.v = append(a.open.v, o)
		}
	}
}

func (l looker) openOn(ctx context.Context, a *appFacts) answer[[]openTransaction] {
	var all []openTransaction
	for _, t := range a.topics() {
		if !t.there {
			continue
		}
		open := asked(ctx, l, func(ctx context.Context) ([]kafka.OpenTransaction, error) {
			return l.admin.OpenTransactions(ctx, t.Name)
		})
		if kafka.Denied(open.err) {
			a.unseen = append(a.unseen, t.Name)
			continue
		}
		if open.err != nil {
			return answer[[]openTransaction]{err: open.err}
		}
		for _, o := range open.v {
			all = append(all, openTransaction{OpenTransaction: o})
		}
	}
	return answer[[]openTransaction]{v: all}
}

// describe adds what the coordinators say. Without their word a transaction stays as it is.
func (l looker) describe(ctx context.Context, open []openTransaction) []openTransaction {
	producers := map[int64]bool{}
	for _, o := range open {
		producers[o.ProducerID] = true
	}
	ids := asked(ctx, l, func(ctx context.Context) (map[int64]string, error) {
		return l.admin.TransactionalIDs(ctx, slices.Sorted(maps.Keys(producers)))
	})
	states := map[string]*kafka.Transaction{}
	for _, id := range ids.v {
		_, _ = ask(ctx, l, func(ctx context.Context) (bool, error) {
			t, ok, err := l.admin.DescribeTransaction(ctx, id)
			if ok && err == nil {
				states[id] = &t
			}
			return ok, err
		})
	}
	for i, o := range open {
		open[i].id = ids.v[o.ProducerID]
		open[i].state = states[open[i].id]
	}
	return open
}
