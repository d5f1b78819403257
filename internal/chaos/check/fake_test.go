package check

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// fake is a run that never was: it writes what a right tally would have written, and a test then
// breaks one thing in it.
type fake struct {
	run     history.Run
	mem     Memory
	events  []history.Event
	stores  []history.Store
	answers []history.Answer
	clock   int64 // ns
	apps    map[string]*fakeApp
	chains  map[string]string
}

type fakeApp struct {
	f       *fake
	h       history.App
	spec    *spec
	inputs  map[int32]int64 // next offset to count, of each partition and stage
	repart  map[int32]int64
	states  map[int32]*counters
	last    map[[2]int32]position // stage, partition
	epochs  map[int]int16         // of producers, by lane
	sent    map[string]*history.Answer
	sources map[int32]map[int32]int64
}

const (
	sumSpec = "app: one\ninput: {topic: one-in, format: json}\ngroup: [key]\n" +
		"aggregates: {count: count, total: {sum: amount}}\noutput: {topic: one-out}\nlanes: 2\n"
	wordSpec = "app: two\ninput: {topic: two-in}\nsplit: words\ngroup: [item]\noutput: {topic: two-out}\nlanes: 2\n"
)

func newFake() *fake {
	f := &fake{mem: Memory{}, apps: map[string]*fakeApp{}, chains: map[string]string{}, clock: 1e18}
	f.run = history.Run{Seed: 7, Began: f.now(), Apps: []history.App{
		{Name: "one", Input: "one-in", Output: "one-out", Changelog: "one.changelog", Dead: "one.dead", ConsumerGroup: "one",
			Partitions: 2, Lanes: 2, Spec: sumSpec, Local: true},
		{Name: "two", Input: "two-in", Output: "two-out", Changelog: "two.changelog", Dead: "two.dead", ConsumerGroup: "two",
			Repartition: "two.repartition", Partitions: 2, Lanes: 2, Spec: wordSpec},
		{Name: "gone", Passing: true},
	}}
	for _, h := range f.run.Apps[:2] {
		s, err := parseSpec(h.Spec)
		if err != nil {
			panic(err)
		}
		a := &fakeApp{f: f, h: h, spec: s, inputs: map[int32]int64{}, repart: map[int32]int64{}, states: map[int32]*counters{},
			last: map[[2]int32]position{}, epochs: map[int]int16{}, sent: map[string]*history.Answer{}, sources: map[int32]map[int32]int64{}}
		for p := range h.Partitions {
			a.states[p], a.sources[p] = newCounters(len(s.sums)), map[int32]int64{}
		}
		f.apps[h.Name] = a
	}
	return f
}

func (f *fake) now() time.Time { f.clock += 1e6; return time.Unix(0, f.clock) }

func (f *fake) add(e history.Event) {
	e.At = f.now()
	f.events = append(f.events, e)
}

// put appends a record to a log.
func (f *fake) put(p Place, r Record) int64 {
	r.Offset, r.SeenMs = int64(len(f.mem[p])), f.now().UnixMilli()
	r.TimeMs = r.SeenMs
	if !r.Txn && r.Control == Data {
		r.Producer = -1
	}
	f.mem[p] = append(f.mem[p], r)
	return r.Offset
}

// send puts an event into the input.
func (a *fakeApp) send(p int32, key, value string) {
	rec := Record{Key: []byte(key), Value: []byte(value)}
	rec.Offset = a.f.put(Place{a.h.Input, p}, rec)
	a.f.add(history.Event{Sent: &history.Sent{App: a.h.Name, Events: []history.Record{{Partition: p, Offset: rec.Offset}}}})
	items, _ := a.spec.items(&rec)
	for _, it := range items {
		w := a.sent[it.group]
		if w == nil {
			w = &history.Answer{App: a.h.Name, Group: show(it.group), Partition: -1}
			a.sent[it.group] = w
		}
		w.Final.Count++
		if a.h.Local {
			w.Partition = p
			w.Increments = append(w.Increments, it.adds[1].coef)
			w.Final.Total += it.adds[1].coef
		}
	}
}

// txn is a transaction of a lane.
type fakeTxn struct {
	a      *fakeApp
	lane   int
	epoch  uint64
	node   string
	places map[Place]bool
}

func (a *fakeApp) begin(lane int, epoch uint64, node string) *fakeTxn {
	a.epochs[lane] += 2
	return &fakeTxn{a: a, lane: lane, epoch: epoch, node: node, places: map[Place]bool{}}
}

func (t *fakeTxn) producer() int64 {
	return int64(len(t.a.h.Name)*1000 + int(t.a.h.Name[0])*10 + t.lane)
}

func (t *fakeTxn) put(p Place, r Record) int64 {
	t.places[p] = true
	r.Txn, r.Producer, r.Epoch = true, t.producer(), t.a.epochs[t.lane]
	return t.a.f.put(p, r)
}

func (t *fakeTxn) end(how Control) {
	if how == Commit {
		t.a.f.add(history.Event{Commit: &history.Commit{Producer: t.producer(), Epoch: t.a.epochs[t.lane]}})
	}
	for _, p := range slices.SortedFunc(maps.Keys(t.places), func(a, b Place) int { return len(a.Topic) - len(b.Topic) }) {
		t.a.f.put(p, Record{Producer: t.producer(), Epoch: t.a.epochs[t.lane] + 1, Control: how})
	}
}

func (t *fakeTxn) note(kind byte, p position) int64 {
	p.TransactionalID = fmt.Sprintf("%s.lane-%d", t.a.h.Name, t.lane)
	p.AppID, p.NodeName, p.Incarnation, p.Epoch = "id-"+t.a.h.Name, t.node, fmt.Sprint(t.node, t.epoch), t.epoch
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return t.put(Place{t.a.h.Changelog, p.Partition}, Record{Key: []byte{1, kind, p.Stage}, Value: append([]byte{1, kind}, text...)})
}

func (t *fakeTxn) offset(topic string, p int32, at int64) {
	key := binary.BigEndian.AppendUint16(nil, 1)
	for _, s := range []string{t.a.h.ConsumerGroup, topic} {
		key = append(binary.BigEndian.AppendUint16(key, uint16(len(s))), s...)
	}
	value := binary.BigEndian.AppendUint64([]byte{0, 3}, uint64(at))
	t.put(Place{OffsetsTopic, 0}, Record{Key: binary.BigEndian.AppendUint32(key, uint32(p)), Value: append(value, 0, 0, 0, 0)})
}

// acquire is a barrier and, at the first start, the first position records.
func (a *fakeApp) acquire(lane int, epoch uint64, node string) {
	t := a.begin(lane, epoch, node)
	for p := int32(lane); p < a.h.Partitions; p += int32(a.h.Lanes) {
		t.note(kindBarrier, position{Partition: p})
		if a.h.Repartition != "" {
			t.put(Place{a.h.Repartition, p}, Record{Key: []byte{1, kindBarrier, 1}, Value: []byte{1, kindBarrier}})
		}
	}
	t.end(Commit)
	if epoch > 1 {
		return
	}
	t = a.begin(lane, epoch, node)
	for p := int32(lane); p < a.h.Partitions; p += int32(a.h.Lanes) {
		for stage := range int32(2) {
			if stage == 1 && a.h.Repartition == "" {
				break
			}
			a.pos(t, stage, p, func(*position) {})
		}
	}
	t.end(Commit)
}

// pos writes the next position record of a task, and its offset.
func (a *fakeApp) pos(t *fakeTxn, stage, p int32, change func(*position)) {
	pos := a.last[[2]int32{stage, p}]
	pos.Stage, pos.Partition, pos.Txn = uint8(stage), p, pos.Txn+1
	change(&pos)
	topic := a.h.Input
	if stage == 1 {
		topic = a.h.Repartition
	}
	if stage == 1 || a.h.Repartition == "" {
		pos.Groups, pos.Digest = int64(a.states[p].len()), a.states[p].digest
	}
	a.last[[2]int32{stage, p}] = pos
	t.note(kindPosition, pos)
	t.offset(topic, p, pos.Input)
}

// count is a transaction of the only stage: up to n events of a partition.
func (a *fakeApp) count(lane int, epoch uint64, node string, n int) *fakeTxn {
	t := a.begin(lane, epoch, node)
	p := int32(lane)
	changed, bad := map[string]bool{}, int64(0)
	log := a.f.mem[Place{a.h.Input, p}]
	from := a.inputs[p]
	for ; a.inputs[p] < min(from+int64(n), int64(len(log))); a.inputs[p]++ {
		rec := log[a.inputs[p]]
		items, ok := a.spec.items(&rec)
		if !ok {
			bad++
			t.put(Place{a.h.Dead, p}, Record{Key: rec.Key, Value: rec.Value, Headers: []Header{{"offset", fmt.Sprint(rec.Offset)}}})
		}
		a.foldInto(p, items, changed)
	}
	a.write(t, p, changed)
	good := a.inputs[p] - from - bad
	a.pos(t, 0, p, func(pos *position) {
		pos.Input, pos.Processed, pos.Dead = a.inputs[p], pos.Processed+good, pos.Dead+bad
	})
	t.end(Commit)
	return t
}

func (a *fakeApp) foldInto(p int32, items []item, changed map[string]bool) {
	for _, it := range items {
		sum, err := sumOf(a.states[p].get(it.group), it.adds)
		if err != nil {
			panic(err)
		}
		a.states[p].set(it.group, sum)
		changed[it.group] = true
	}
}

// write puts values and outputs.
func (a *fakeApp) write(t *fakeTxn, p int32, changed map[string]bool) {
	for _, group := range slices.Sorted(maps.Keys(changed)) {
		values := a.states[p].get(group)
		stage := a.lastStage()
		t.put(Place{a.h.Changelog, p}, Record{Key: append([]byte{1, kindValue, stage, 0}, group...), Value: append([]byte{1, kindValue}, encodeAll(values)...)})
		if a.h.Local {
			text, _, _ := groupString([]byte(group))
			t.put(Place{a.h.Output, p}, Record{Key: text, Value: fmt.Appendf(nil, `{"count":%s,"total":%s}`, values[0], values[1])})
		} else {
			text, _, _ := groupString([]byte(group))
			t.put(Place{a.h.Output, p}, Record{Key: []byte(show(group)), Value: fmt.Appendf(nil, `{"item":%q,"count":%s}`, text, values[0])})
		}
	}
}

// sendOn is a transaction of the first of two stages.
func (a *fakeApp) sendOn(lane int, epoch uint64, node string, n int) {
	t := a.begin(lane, epoch, node)
	p := int32(lane)
	partials := map[int32]map[string]int64{0: {}, 1: {}}
	log := a.f.mem[Place{a.h.Input, p}]
	from, bad := a.inputs[p], int64(0)
	for ; a.inputs[p] < min(from+int64(n), int64(len(log))); a.inputs[p]++ {
		items, ok := a.spec.items(&log[a.inputs[p]])
		if !ok {
			panic("no dead letters here")
		}
		for _, it := range items {
			partials[int32(len(it.group)%2)][it.group]++
		}
	}
	for q, groups := range partials {
		for group, count := range groups {
			value := append([]byte{1, kindPartial, 0, byte(lane), 0}, decimal{coef: count}.encode(nil)...)
			t.put(Place{a.h.Repartition, q}, Record{Key: append([]byte{1, kindPartial, 0, 0}, group...), Value: value})
		}
		if len(groups) > 0 {
			value := binary.AppendUvarint(binary.AppendUvarint([]byte{1, kindSources, 0, byte(lane)}, uint64(p)), uint64(a.inputs[p]))
			t.put(Place{a.h.Repartition, q}, Record{Key: []byte{1, kindSources, 0}, Value: value})
		}
	}
	a.pos(t, 0, p, func(pos *position) {
		pos.Input, pos.Processed, pos.Dead = a.inputs[p], pos.Processed+a.inputs[p]-from-bad, pos.Dead+bad
	})
	t.end(Commit)
}

// countPartials is a transaction of the second stage: all that is there.
func (a *fakeApp) countPartials(lane int, epoch uint64, node string) {
	t := a.begin(lane, epoch, node)
	q := int32(lane)
	changed, n := map[string]bool{}, int64(0)
	log := a.f.mem[Place{a.h.Repartition, q}]
	for ; a.repart[q] < int64(len(log)); a.repart[q]++ {
		rec := log[a.repart[q]]
		if rec.Control != Data {
			continue
		}
		switch k, _ := parseKey(rec.Key); k.kind {
		case kindPartial:
			_, text, err := parsePartial(rec.Value)
			if err != nil {
				panic(err)
			}
			adds, err := decodeDecimals(text)
			if err != nil {
				panic(err)
			}
			n++
			a.foldInto(q, []item{{string(k.group), adds}}, changed)
		case kindSources:
			_, next, _ := parseSources(rec.Value)
			maps.Copy(a.sources[q], next)
		}
	}
	a.write(t, q, changed)
	a.pos(t, 1, q, func(pos *position) {
		pos.Input, pos.Processed, pos.Sources = a.repart[q], pos.Processed+n, maps.Clone(a.sources[q])
	})
	t.end(Commit)
}

func (a *fakeApp) lastStage() uint8 {
	if a.h.Repartition != "" {
		return 1
	}
	return 0
}

func (a *fakeApp) source() string {
	if a.h.Repartition != "" {
		return a.h.Repartition
	}
	return a.h.Input
}

func (a *fakeApp) partOf(p int32, node, role string, epoch uint64) history.Part {
	at := a.last[[2]int32{int32(a.lastStage()), p}].Input
	return history.Part{Partition: p, Lane: int(p) % a.h.Lanes, Node: node, Role: role, Epoch: epoch, AsOfMs: a.f.now().UnixMilli(),
		Position: map[string]int64{fmt.Sprintf("%s/%d", a.source(), p): at}}
}

func (a *fakeApp) valuesJSON(values []decimal) json.RawMessage {
	if values == nil {
		return nil
	}
	if len(values) == 1 {
		return fmt.Appendf(nil, `{"count":%s}`, values[0])
	}
	return fmt.Appendf(nil, `{"count":%s,"total":%s}`, values[0], values[1])
}

// ask adds one answer of each kind out of the present state of a lane's owner or standby.
func (a *fakeApp) ask(node, role string, epoch uint64) {
	reader := "r-" + a.h.Name
	in := a.f.chains[reader]
	out := fmt.Sprint("token-", a.f.clock)
	a.f.chains[reader] = out
	base := history.Read{Reader: reader, App: a.h.Name, Node: node, Stale: role == roleStandby, TokenIn: in, TokenOut: out}
	scan := base
	scan.Ask, scan.Began = "scan", a.f.now()
	for p := range a.h.Partitions {
		for group := range a.states[p].places {
			scan.Counts = append(scan.Counts, history.Count{Group: show(group), Values: a.valuesJSON(a.states[p].get(group))})
		}
		scan.Parts = append(scan.Parts, a.partOf(p, node, role, epoch))
	}
	scan.Ended = a.f.now()
	a.f.add(history.Event{Read: &scan})
	top := scan
	top.Ask, top.N, top.Began, top.Counts = "top", 20, a.f.now(), slices.Clone(scan.Counts)
	slices.SortFunc(top.Counts, func(x, y history.Count) int { return len(y.Values) - len(x.Values) })
	top.Ended = a.f.now()
	a.f.add(history.Event{Read: &top})
	for p := range a.h.Partitions {
		for _, group := range append(slices.Sorted(maps.Keys(a.states[p].places)), encodeGroup([]byte("nobody"))) {
			get := base
			get.Ask, get.Asked, get.Began = "get", show(group), a.f.now()
			part := a.partOf(p, node, role, epoch)
			if values := a.states[p].get(group); values != nil {
				part.Values = a.valuesJSON(values)
				get.Counts = []history.Count{{Group: get.Asked, Values: part.Values}}
			}
			if role == roleOwner {
				get.After = fmt.Sprintf("%s/%d:%d", a.h.Input, p, a.inputs[p]-1)
			}
			get.Parts, get.Ended = []history.Part{part}, a.f.now()
			a.f.add(history.Event{Read: &get})
		}
		a.f.stores = append(a.f.stores, history.Store{App: a.h.Name, Node: node, Stage: a.lastStage(), Partition: p,
			Changelog: int64(len(a.f.mem[Place{a.h.Changelog, p}])), Groups: int64(a.states[p].len()), Digest: a.states[p].digest})
	}
	lanes := []history.Lane{}
	for k := range a.h.Lanes {
		lanes = append(lanes, history.Lane{App: a.h.Name, Lane: k, Owner: node, Epoch: epoch})
	}
	lanes = append(lanes, history.Lane{App: "gone", Owner: node, Epoch: 1}) // of an app that comes and goes
	if role == roleOwner {
		a.f.add(history.Event{Status: &history.Status{Node: node, Lanes: lanes}})
	}
}

func (f *fake) judge() (*Report, error) {
	return Judge(&Run{Run: f.run, Dump: f.mem, Kinds: Kinds{Columns: []string{"kill", "pause"}},
		Answers: func(fn func(history.Answer) error) error { return each(f.answers, fn) },
		Events:  func(fn func(history.Event) error) error { return each(f.events, fn) },
		Stores:  func(fn func(history.Store) error) error { return each(f.stores, fn) },
	})
}

func each[T any](all []T, fn func(T) error) error {
	for _, v := range all {
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

// find gives the n-th record of a log that is as asked; it panics when there is none.
func (f *fake) find(p Place, n int, is func(*Record) bool) *Record {
	for i := range f.mem[p] {
		if r := &f.mem[p][i]; is(r) {
			if n--; n < 0 {
				return r
			}
		}
	}
	panic(fmt.Sprintf("no such record in %s", p))
}

// vanish makes a record one that says nothing, so that the offsets have no gap.
func vanish(r *Record) {
	*r = Record{Offset: r.Offset, Producer: math.MaxInt64, Control: Commit}
}

func isData(r *Record) bool { return r.Control == Data }

func isKind(kind byte) func(*Record) bool {
	return func(r *Record) bool { return r.Control == Data && r.Key[1] == kind }
}
