package processor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// The scripts in testdata drive a lane by hand: what it would do by itself is done by the commands,
// so that each step of the state machine, and what a test wants to happen between two steps, is a
// line.
//
//	go test ./processor -rewrite     writes the outputs anew
//
// Commands:
//
//	lane [partitions=(0,1)] [repartitions=N] [limit-events=N]
//	                                             a new lane and store; the input is the spec
//	run                                          a new stay as the owner
//	fetch [full]                                 lines "PARTITION OFFSET KEY VALUE", KEY - is null
//	relay [max=N]                                fetch what is in the repartition topic
//	foreign Q KEY VALUE                          somebody else's record there
//	marker Q                                     another lane's transaction ends there
//	again Q                                      what is in partition Q of it stands there twice
//	fold                                         fold what was fetched
//	tick DURATION                                let time pass, then commit if it is due
//	commit [answer=ok|refused|unknown|fenced]    carry the due batch through its transaction; also
//	                                             answer=refused-value, -position, -sources, -dead
//	pass PARTITION FROM TO                       a probe has found no record from FROM up to TO
//	get / state                                  what a query sees
func TestLaneScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/lane", func(t *testing.T, path string) {
		m := &machine{t: t}
		datadriven.RunTest(t, path, m.command)
	})
}

func TestMain(m *testing.M) {
	flag.Parse()
	m.Run()
}

// machine is a lane with everything around it scripted.
type machine struct {
	t       *testing.T
	now     time.Time
	lane    *Lane
	store   *state.Store
	session *scripted
	due     *batch
	offset  int64 // next changelog offset, the same for all partitions to keep scripts short
	// The repartition topic: what is committed there, and how far the lane has fetched it.
	relayed [2][]*kgo.Record
	fetched [2]int
}

func (m *machine) command(t *testing.T, d *datadriven.TestData) string {
	m.t = t
	commands := map[string]func(*datadriven.TestData) string{
		"lane": m.cmdLane, "run": m.cmdRun, "fetch": m.cmdFetch, "relay": m.cmdRelay, "foreign": m.cmdForeign, "again": m.cmdAgain, "marker": m.cmdMarker, "fold": m.cmdFold,
		"tick": m.cmdTick, "commit": m.cmdCommit, "get": m.cmdGet, "state": m.cmdState, "pass": m.cmdPass,
	}
	do, ok := commands[d.Cmd]
	if !ok {
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	}
	return do(d)
}

func (m *machine) seam() seam.Seam {
	s := seam.World()
	s.Now = func() time.Time { return m.now }
	return s
}

func (m *machine) cmdLane(d *datadriven.TestData) string {
	sp, err := spec.Parse([]byte(d.Input), "script")
	if err != nil {
		return err.Error()
	}
	partitions, events, repartitions := []int{0, 1}, 0, 0
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "partitions":
			partitions = nil
			for _, v := range arg.Vals {
				p, _ := strconv.Atoi(v)
				partitions = append(partitions, p)
			}
		case "repartitions":
			repartitions, _ = strconv.Atoi(arg.Vals[0])
		case "limit-events":
			events, _ = strconv.Atoi(arg.Vals[0])
		}
	}
	m.now = time.UnixMilli(1_000_000)
	m.relayed, m.fetched = [2][]*kgo.Record{}, [2]int{}
	m.newStore(sp)
	var tasks []state.Task
	for _, p := range partitions {
		tasks = append(tasks, state.Task{Partition: int32(p)})
	}
	repartition := ""
	for q := range repartitions {
		repartition = "repartition"
		tasks = append(tasks, state.Task{Stage: state.SecondStage, Partition: int32(q)})
	}
	m.lane = New(Config{
		Spec: sp, Program: spec.Compile(sp), Partitions: len(partitions), Changelog: "changelog", Dead: "dead",
		Repartition: repartition, Repartitions: repartitions,
		Partitioners: [...]func([]byte, int) int32{kafka.PartitionMurmur2, kafka.PartitionCRC32},
		Limits:       Limits{TxnEvents: events}, Stamp: state.PositionRecord{AppID: "app", Epoch: 1, Generation: 1},
		Seam: m.seam(),
	}, tasks)
	var first []state.PositionRecord
	for _, task := range tasks {
		first = append(first, state.PositionRecord{Task: task, AppID: "app", Generation: 1, Txn: 1, AtMs: m.now.UnixMilli(), Partitions: len(partitions)})
	}
	m.session = &scripted{m: m}
	if err := m.lane.CommitPositions(context.Background(), m.session, m.store, first); err != nil {
		return err.Error()
	}
	return m.session.take() + m.cmdRun(d)
}

func (m *machine) newStore(sp *spec.Spec) {
	store, err := state.Open("lane", state.Identity{App: sp.App, AppID: "app", Generation: 1}, state.Options{
		Seam: seam.World(), FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { store.Abandon() })
	m.store = store
}

func (m *machine) cmdRun(*datadriven.TestData) string {
	m.session, m.due = &scripted{m: m}, nil
	m.lane.begin(m.session, m.store)
	for task, rec := range m.lane.records {
		if task.Stage == state.SecondStage {
			m.fetched[task.Partition] = int(rec.Input)
		}
	}
	return m.positions()
}

// positions prints for each partition: where the next Poll reads, and what has been committed.
func (m *machine) positions() string {
	var b strings.Builder
	for _, p := range sorted(m.lane.records) {
		r := m.lane.records[p]
		fmt.Fprintf(&b, "%s at %d: processed %d filtered %d skipped %d dead %d, groups %d",
			named(p), r.Input, r.Processed, r.Filtered, r.Skipped, r.Dead, r.Groups)
		if p.Stage > 0 {
			fmt.Fprintf(&b, ", sources %v midway %v", r.Sources, r.Midway)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (m *machine) cmdFetch(d *datadriven.TestData) string {
	var recs []*kgo.Record
	for line := range strings.Lines(d.Input) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 4)
		p, _ := strconv.Atoi(f[0])
		o, _ := strconv.ParseInt(f[1], 10, 64)
		rec := &kgo.Record{Topic: "input", Partition: int32(p), Offset: o, Timestamp: m.now}
		if f[2] == "marker" {
			rec.Attrs = kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Transactional: true, Control: true})
		} else {
			if f[2] != "-" {
				rec.Key = []byte(f[2])
			}
			value, err := strconv.Unquote(`"` + f[3] + `"`)
			if err != nil {
				m.t.Fatal(err)
			}
			rec.Value = []byte(value)
		}
		recs = append(recs, rec)
	}
	if d.HasArg("full") {
		m.lane.filling.behind = true
	}
	return m.say(m.lane.onFetch(fetch{recs: recs}))
}

func (m *machine) cmdRelay(d *datadriven.TestData) string {
	var recs []*kgo.Record
	left := 1000
	if d.HasArg("max") {
		d.ScanArgs(m.t, "max", &left)
	}
	for q := range m.relayed {
		rest := m.relayed[q][m.fetched[q]:]
		rest = rest[:min(left, len(rest))]
		recs = append(recs, rest...)
		m.fetched[q] += len(rest)
		left -= len(rest)
	}
	if err := m.lane.onFetch(fetch{recs: recs}); err != nil {
		return m.say(err)
	}
	return fmt.Sprintf("%d records\n", len(recs))
}

func (m *machine) cmdForeign(d *datadriven.TestData) string {
	q, _ := strconv.Atoi(d.CmdArgs[0].Key)
	rec := &kgo.Record{Key: []byte(d.CmdArgs[1].Key), Value: []byte(d.CmdArgs[2].Key)}
	m.toRepartition(int32(q), rec)
	return ""
}

func (m *machine) cmdMarker(d *datadriven.TestData) string {
	q, _ := strconv.Atoi(d.CmdArgs[0].Key)
	control := kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Transactional: true, Control: true})
	rest := m.relayed[q][m.fetched[q]:]
	m.relayed[q] = slices.Clone(m.relayed[q][:m.fetched[q]])
	for _, rec := range append([]*kgo.Record{{Attrs: control}}, rest...) {
		m.toRepartition(int32(q), rec)
	}
	return ""
}

func (m *machine) cmdAgain(d *datadriven.TestData) string {
	q, _ := strconv.Atoi(d.CmdArgs[0].Key)
	for _, rec := range slices.Clone(m.relayed[q]) {
		again := *rec
		m.toRepartition(int32(q), &again)
	}
	return ""
}

func (m *machine) toRepartition(q int32, rec *kgo.Record) {
	rec.Topic, rec.Partition, rec.Offset = "repartition", q, int64(len(m.relayed[q]))
	m.relayed[q] = append(m.relayed[q], rec)
}

func (m *machine) cmdFold(*datadriven.TestData) string {
	if err := m.lane.foldPending(); err != nil {
		return m.say(err)
	}
	b := m.lane.filling
	out := fmt.Sprintf("%d events, %d groups, %d left over\n", b.events, b.groups, len(m.lane.pending))
	if m.lane.stop != nil {
		out += m.lane.stop.Error() + "\n"
	}
	return out
}

func (m *machine) cmdTick(d *datadriven.TestData) string {
	by, err := time.ParseDuration(d.CmdArgs[0].Key)
	if err != nil {
		m.t.Fatal(err)
	}
	m.now = m.now.Add(by)
	if b := m.lane.takeDue(m.now); b != nil {
		m.due = b
		return "due\n"
	}
	if m.lane.committing != nil {
		return "in flight\n"
	}
	if at, ok := m.lane.nextWake(); ok && !m.lane.filling.empty() {
		return fmt.Sprintf("due in %s\n", at.Sub(m.now))
	}
	return "nothing to commit\n"
}

func (m *machine) cmdCommit(d *datadriven.TestData) string {
	if m.due == nil {
		return "nothing is due\n"
	}
	m.session.answer = "ok"
	if d.HasArg("answer") {
		d.ScanArgs(m.t, "answer", &m.session.answer)
	}
	b := m.due
	m.due = nil
	end := m.lane.commit(context.Background(), b)
	out := m.session.take()
	if err := m.lane.onEnding(end); err != nil {
		return out + "the stay is over: " + err.Error() + "\n"
	}
	return out + m.positions()
}

func (m *machine) cmdGet(d *datadriven.TestData) string {
	var args []string
	for _, a := range d.CmdArgs {
		args = append(args, a.Key)
	}
	js, err := m.lane.cfg.Program.GroupFromArgs(args, false)
	if err != nil {
		return err.Error()
	}
	group, err := m.lane.cfg.Program.ParseGroupJSON(js)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, p := range sorted(m.lane.records) {
		values, ok, err := m.store.Get(m.lane.records[p].Task, group, nil)
		if err != nil || !ok {
			continue
		}
		v, _ := m.lane.cfg.Program.DecodeValues(values, nil)
		fmt.Fprintf(&b, "%s: %s\n", named(p), m.lane.cfg.Program.AppendValuesJSON(nil, v))
	}
	if b.Len() == 0 {
		return "no values\n"
	}
	return b.String()
}

func (m *machine) cmdPass(d *datadriven.TestData) string {
	var n [3]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(d.CmdArgs[i].Key, 10, 64)
	}
	m.lane.Pass(state.Task{Partition: int32(n[0])}, n[1], n[2])
	return m.cmdState(d)
}

func (m *machine) cmdState(*datadriven.TestData) string {
	var b strings.Builder
	for _, p := range sorted(m.lane.views) {
		fmt.Fprintf(&b, "%s: position %d\n", named(p), m.lane.Position(p))
	}
	return b.String()
}

func (m *machine) say(err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	return ""
}

// scripted is a Session whose answers come from the script and whose records are printed.
type scripted struct {
	m       *machine
	answer  string
	records []*kgo.Record
	out     strings.Builder
}

func (s *scripted) Poll(context.Context, int) ([]*kgo.Record, int64, error) {
	panic("the scripts hand over what was fetched")
}

func (s *scripted) Begin() error {
	s.records = nil
	fmt.Fprintln(&s.out, "begin")
	return nil
}

func (s *scripted) Produce(r *kgo.Record) { s.records = append(s.records, r) }

func (s *scripted) Commit(_ context.Context, offsets txn.Offsets) (txn.Outcome, error) {
	for _, r := range s.records {
		if r.Topic == "repartition" && or(s.answer, "ok") == "ok" {
			kept := *r // the lane uses its records again
			kept.Key, kept.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
			s.m.toRepartition(r.Partition, &kept)
			r.Offset = kept.Offset
		} else {
			r.Offset = s.m.offset
			s.m.offset++
		}
		fmt.Fprintln(&s.out, describe(r))
	}
	var lines []string
	for p, at := range offsets {
		lines = append(lines, fmt.Sprintf("offset %s/%d %d\n", p.Topic, p.Partition, at))
	}
	sort.Strings(lines)
	s.out.WriteString(strings.Join(lines, ""))
	fmt.Fprintf(&s.out, "end: %s\n", or(s.answer, "ok"))
	s.m.offset++ // the marker
	if what, ok := strings.CutPrefix(s.answer, "refused-"); ok {
		return txn.Aborted, s.refusalOf(what)
	}
	switch s.answer {
	case "refused":
		return txn.Aborted, &txn.ProduceError{Topic: "output", Err: kerr.MessageTooLarge}
	case "fenced":
		return txn.Aborted, fmt.Errorf("end: %w", kerr.ProducerFenced)
	case "unknown":
		return txn.Unknown, errors.New("the connection was lost")
	}
	return txn.Committed, nil
}

// refusalOf refuses the first record of a kind; there has to be one.
func (s *scripted) refusalOf(what string) error {
	kind := map[string]state.Kind{"value": state.KindValue, "position": state.KindPosition, "sources": state.KindSources}[what]
	for _, r := range s.records {
		own := r.Topic == "changelog" || r.Topic == "repartition"
		if own && state.Kind(r.Key[1]) == kind || !own && r.Topic == what {
			return &txn.ProduceError{Topic: r.Topic, Partition: r.Partition, Kind: state.Kind(r.Key[1]), Err: kerr.MessageTooLarge}
		}
	}
	panic("no record of this kind is refused: " + what)
}

func (s *scripted) take() string {
	defer s.out.Reset()
	return s.out.String()
}

func describe(r *kgo.Record) string {
	if r.Topic == "repartition" {
		return describePartial(r)
	}
	if r.Topic != "changelog" {
		var headers []string
		for _, h := range r.Headers {
			headers = append(headers, h.Key+"="+string(h.Value))
		}
		return fmt.Sprintf("%s/%d %s %q [%s]", r.Topic, r.Partition, keyOf(r.Key), r.Value, strings.Join(headers, " "))
	}
	kind, _, group, err := state.DecodeKey(r.Key)
	switch {
	case err != nil:
		return err.Error()
	case kind == state.KindPosition:
		p, _ := state.DecodePosition(r.Value)
		if p.Stage > 0 {
			return fmt.Sprintf("changelog/%d position of stage %d: txn %d input %d sources %v midway %v", r.Partition, p.Stage, p.Txn, p.Input, p.Sources, p.Midway)
		}
		return fmt.Sprintf("changelog/%d position: txn %d input %d", r.Partition, p.Txn, p.Input)
	default:
		return fmt.Sprintf("changelog/%d value of %q", r.Partition, group)
	}
}

func describePartial(r *kgo.Record) string {
	kind, group, err := state.DecodeRepartitionKey(r.Key)
	if err != nil {
		return err.Error()
	}
	if kind == state.KindSources {
		s, _ := state.DecodeSources(r.Value)
		return fmt.Sprintf("repartition/%d sources of lane %d: %v", r.Partition, s.Lane, s.Next)
	}
	p, _ := state.DecodePartial(r.Value, r.Timestamp.UnixMilli())
	return fmt.Sprintf("repartition/%d partial of %q: %x", r.Partition, group, p.Values)
}

func keyOf(k []byte) string {
	if k == nil {
		return "null"
	}
	return strconv.Quote(string(k))
}

func sorted[V any](m map[state.Task]V) []state.Task {
	return slices.SortedFunc(maps.Keys(m), func(a, b state.Task) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Partition, b.Partition))
	})
}

// named is a task as the scripts call it: those of an app's first stage by their partition.
func named(t state.Task) string {
	if t.Stage == 0 {
		return fmt.Sprintf("partition %d", t.Partition)
	}
	return fmt.Sprintf("repartition %d", t.Partition)
}
