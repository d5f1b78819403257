package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// settle waits until all that was sent is counted, and compares everything with a recount.
func (w *trial) settle() {
	w.t.Helper()
	w.t.Logf("%5d ms: settle", time.Since(w.began).Milliseconds())
	w.faults.on.Store(false)
	w.input.mu.Lock() // nobody sends meanwhile
	defer w.faults.on.Store(true)
	defer w.input.mu.Unlock()
	w.input.toAll() // so that each lane commits, or finds that it was taken
	began, same := time.Now().UnixMilli(), 0
	w.until(func() error {
		a, err := w.settled()
		if a != nil && err != nil && a.Lag+a.RepartitionLag == 0 && a.Lanes[0].AsOfMs > began {
			if same++; same > 100 { // it has read to the end, and does not move any more
				w.t.Fatal(err)
			}
		}
		return err
	})
	w.checkValues()
	w.checkRecords()
	w.checkEpochs()
	w.checkOutputs()
	w.checkDead()
	w.done.add(checkRecount, 1)
	w.endOld()
}

func (w *trial) until(ok func() error) {
	w.t.Helper()
	until(w.t, func() error {
		if w.t.Failed() {
			w.t.FailNow()
		}
		return ok()
	})
}

var errTurns = errors.New("an old node holds a lane of the newest")

// settled reports whether the newest node has counted everything. Two nodes may have taken turns so
// that the old one holds a lane: then all stop, and one starts.
func (w *trial) settled() (*api.AppStatus, error) {
	m := w.newest()
	st, err := m.client.Status(w.ctx())
	if err != nil {
		return nil, err
	}
	if len(st.Apps) != 1 {
		return nil, errors.New("it is starting")
	}
	a := st.Apps[0]
	for _, l := range a.Lanes {
		if l.State == api.LaneLost {
			w.endAll()
			w.launch(m.dir)
			return nil, errTurns
		}
	}
	dead := w.input.unreadable()
	if sum := a.Processed + a.Filtered + a.Skipped + a.Dead; sum != w.input.total() || a.Dead != dead || a.Lag+a.RepartitionLag != 0 {
		return &a, fmt.Errorf("%d processed, %d dead, lag %d and %d; %d were sent, %d of them not readable: %+v",
			a.Processed, a.Dead, a.Lag, a.RepartitionLag, w.input.total(), dead, a.Lanes)
	}
	return &a, nil
}

// ready waits until the newest node runs every lane.
func (w *trial) ready() {
	w.t.Helper()
	w.until(func() error {
		st, err := w.newest().client.Status(w.ctx())
		if err != nil || len(st.Apps) != 1 {
			return fmt.Errorf("it is starting: %w", err)
		}
		for _, l := range st.Apps[0].Lanes {
			if l.State != api.LaneRunning {
				return fmt.Errorf("lane %d is %s: %s", l.Lane, l.State, l.Reason)
			}
		}
		return nil
	})
}

// endOld stops the nodes that were taken over; they must know by now.
func (w *trial) endOld() {
	w.t.Helper()
	w.watched.Lock()
	old := w.members[:len(w.members)-1]
	w.members = w.members[len(w.members)-1:]
	w.watched.Unlock()
	for _, m := range old {
		for lane := range m.node.running()[0].lanes {
			m.lane(lane, api.LaneLost)
		}
		m.end()
		w.idle = append(w.idle, m.dir)
	}
}

func (w *trial) checkValues() {
	w.t.Helper()
	want := w.input.recount(nil)
	if got := w.newest().counts(); !maps.Equal(got, want) {
		w.t.Fatalf("the counts differ:\n%s", difference(got, want))
	}
}

// checkRecords holds position records and group offsets against the input's end.
func (w *trial) checkRecords() {
	w.t.Helper()
	if w.two != nil {
		w.until(w.notMidway)
	}
	offsets, err := w.groupOffsets()
	w.must(err)
	records := w.lastRecords()
	for _, at := range w.sources() {
		p, r := at.Partition, records[at]
		if r == nil || r.Input != offsets[at] {
			w.t.Fatalf("%s/%d: the group is at %d, the position record is %+v", at.Topic, p, offsets[at], r)
		}
		if at.Topic != w.in {
			w.checkSources(p, r)
			continue
		}
		n, dead := int64(len(w.input.sent[p])), w.input.unreadableIn(p)
		if left := w.input.between(p, r.Input, 1<<62); left > 0 || r.Processed+r.Filtered+r.Skipped+r.Dead != n || r.Dead != dead {
			w.t.Fatalf("partition %d: %d events are behind the position %d; %d processed, %d dead of %d, of which %d are not readable",
				p, left, r.Input, r.Processed, r.Dead, n, dead)
		}
	}
}

// sources are what the app's tasks read.
func (w *trial) sources() (all []txn.TopicPartition) {
	for p := range w.input.partitions() {
		all = append(all, txn.TopicPartition{Topic: w.in, Partition: p})
	}
	if w.two != nil {
		for q := range int32(trialPartitions) {
			all = append(all, txn.TopicPartition{Topic: w.app + ".repartition", Partition: q})
		}
	}
	return all
}

// lastRecords are the last position records, by what their tasks read.
func (w *trial) lastRecords() map[txn.TopicPartition]*state.PositionRecord {
	w.t.Helper()
	last := map[txn.TopicPartition]*state.PositionRecord{}
	for _, r := range w.read(w.app + ".changelog") {
		if kind, _, _, err := state.DecodeKey(r.Key); err != nil || kind != state.KindPosition {
			continue
		}
		rec, err := state.DecodePosition(r.Value)
		w.must(err)
		topic := w.in
		if rec.Stage == state.SecondStage {
			topic = w.app + ".repartition"
		}
		last[txn.TopicPartition{Topic: topic, Partition: rec.Partition}] = &rec
	}
	return last
}

// checkEpochs: the epochs of a partition's position records never fall, and no two stays of
// different nodes have the same.
func (w *trial) checkEpochs() {
	w.t.Helper()
	last := map[int32]state.PositionRecord{}
	for _, r := range w.read(w.app + ".changelog") {
		kind, _, _, err := state.DecodeKey(r.Key)
		w.must(err)
		if kind != state.KindPosition {
			continue
		}
		now, err := state.DecodePosition(r.Value)
		w.must(err)
		before := last[r.Partition]
		if now.Epoch < before.Epoch || now.Epoch == before.Epoch && now.Incarnation != before.Incarnation {
			w.t.Fatalf("partition %d: node %s wrote offset %d under epoch %d, behind node %s under epoch %d",
				r.Partition, now.NodeName, r.Offset, now.Epoch, before.NodeName, before.Epoch)
		}
		last[r.Partition] = now
	}
}

// checkOutputs: each counter's outputs rise strictly to its value; with emit: every, one by one.
func (w *trial) checkOutputs() {
	w.t.Helper()
	last := map[string]int{}
	for _, r := range w.read(w.out) {
		var v struct {
			Item  string
			Count int
		}
		w.must(json.Unmarshal(r.Value, &v))
		counter := fmt.Sprintf("%d %s", r.Partition, w.input.groupOf(r.Key, v.Item))
		if v.Count <= last[counter] || w.every && w.two == nil && v.Count != last[counter]+1 {
			w.t.Fatalf("the output of %s goes from %d to %d at offset %d", counter, last[counter], v.Count, r.Offset)
		}
		last[counter] = v.Count
	}
	want := map[string]int{}
	for p := range w.input.sent {
		for group, n := range w.input.countsOf(p, len(w.input.sent[p])) {
			counted := p
			if w.two != nil {
				counted = w.two.partition(group)
			}
			want[fmt.Sprintf("%d %s", counted, group)] += n
		}
	}
	if !maps.Equal(last, want) {
		w.t.Fatalf("the outputs end at\n %v\nwant\n %v", last, want)
	}
}

// checkDead: each unreadable event is a dead letter once, as it was.
func (w *trial) checkDead() {
	w.t.Helper()
	want := map[[2]int64]*kgo.Record{}
	for p, events := range w.input.sent {
		for _, e := range events {
			if !readable(e) {
				want[[2]int64{int64(p), e.Offset}] = e
			}
		}
	}
	for _, r := range w.read(w.app + ".dead") {
		at := [2]int64{number(w, r, "partition"), number(w, r, "offset")}
		e := want[at]
		if e == nil || !bytes.Equal(e.Key, r.Key) || !bytes.Equal(e.Value, r.Value) {
			w.t.Fatalf("partition %d offset %d is a dead letter twice, or should be none: %q", at[0], at[1], r.Value)
		}
		delete(want, at)
	}
	if len(want) > 0 {
		w.t.Fatalf("%d unreadable events are no dead letters", len(want))
	}
}

func number(w *trial, r *kgo.Record, header string) int64 {
	for _, h := range r.Headers {
		if h.Key == header {
			n, err := strconv.ParseInt(string(h.Value), 10, 64)
			w.must(err)
			return n
		}
	}
	w.t.Fatalf("a dead letter has no header %s", header)
	return 0
}

// past is what was true at some time: the end of each topic's partitions and the group's offsets.
type past struct {
	ends  map[string]map[int32]int64
	group txn.Offsets
	ids   map[[16]byte]string // names of topics
}

func (p *past) name(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	return p.ids[id]
}

func (w *trial) past() *past {
	w.t.Helper()
	p := &past{ends: map[string]map[int32]int64{}, ids: map[[16]byte]string{}}
	var err error
	p.group, err = w.groupOffsets()
	w.must(err)
	topics := []string{w.in, w.app + ".changelog"}
	if w.two != nil {
		topics = append(topics, w.app+".repartition")
	}
	for _, topic := range topics {
		p.ends[topic], err = w.admin.EndOffsets(w.ctx(), topic, true)
		w.must(err)
		p.ids[w.topicID(topic)] = topic
	}
	records := w.lastRecords()
	for _, at := range w.sources() { // never older than the first position record
		if records[at] == nil {
			w.t.Fatalf("%v has no position record", at)
		}
	}
	return p
}
