package ownership

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var names = []string{"a", "b", "c"}

// drawCommand makes a command that is often, but not always, one that can be taken.
func drawCommand(t *rapid.T, s *State) Command {
	id := rapid.SampledFrom(names).Draw(t, "id")
	ref := LaneRef{App: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "app"), Lane: rapid.IntRange(0, 2).Draw(t, "lane")}
	switch rapid.IntRange(0, 13).Draw(t, "command") {
	case 0:
		return Command{Drain: &Drain{ID: id, Draining: rapid.Bool().Draw(t, "draining")}}
	case 1:
		return Command{Forget: &Forget{id}}
	case 2:
		return Command{DropApp: &DropApp{ref.App}}
	case 3:
		return Command{HaltApp: &HaltApp{Name: ref.App, Halted: rapid.SampledFrom([]string{"", "why"}).Draw(t, "halted")}}
	case 4:
		return Command{RaiseEpoch: &RaiseEpoch{ref, rapid.Uint64Range(0, 50).Draw(t, "floor")}}
	case 5:
		return Command{MoveLane: &MoveLane{ref, rapid.SampledFrom(append(names, "")).Draw(t, "target")}}
	case 6, 7:
		return Command{PutApp: drawPut(t, s, ref.App)}
	case 8, 9:
		inc := fmt.Sprint(id, rapid.IntRange(1, 3).Draw(t, "incarnation"))
		return Command{Register: &Register{Member{ID: id, Name: id, Incarnation: inc, Addr: id, Format: Format, Capacity: 1}}}
	}
	return Command{Plan: drawPlan(t, s)}
}

func drawPut(t *rapid.T, s *State, name string) *PutApp {
	app := App{Name: name, ID: "id", Generation: 1, Partitions: 3, Lanes: make([]Lane, rapid.IntRange(1, 3).Draw(t, "lanes"))}
	expect := 0
	if old := s.Apps[name]; old != nil {
		expect = old.Generation
		app.Generation = expect + rapid.IntRange(0, 1).Draw(t, "reset")
	}
	if rapid.Bool().Draw(t, "of one Kafka") {
		app.KafkaCluster = "k"
	}
	for i := range app.Lanes {
		app.Lanes[i].Epoch = rapid.Uint64Range(0, 9).Draw(t, "epoch")
	}
	return &PutApp{App: app, Expect: expect}
}

// drawPlan makes a plan that is mostly one that can be taken: one wrong part has all of it refused.
func drawPlan(t *rapid.T, s *State) *Plan {
	p := &Plan{Base: s.Version}
	var alive []string
	for _, m := range s.SortedMembers() {
		switch {
		case rapid.IntRange(0, 15).Draw(t, "dies") == 0:
			p.Dead = append(p.Dead, Death{m.ID, m.Incarnation})
		case m.Alive:
			alive = append(alive, m.ID)
		}
	}
	if rapid.IntRange(0, 7).Draw(t, "wild") == 0 {
		alive = names
	}
	for ref, l := range s.Lanes() {
		if rapid.Bool().Draw(t, "kept") {
			continue
		}
		p.Lanes = append(p.Lanes, LaneChange{ref, drawLane(t, s, l, alive)})
	}
	return p
}

func drawLane(t *rapid.T, s *State, old Lane, among []string) Lane {
	to := Lane{Unfenced: old.Owner != "" || old.Unfenced, Wanted: old.Wanted}
	if owner := s.Members[rapid.SampledFrom(append(slices.Clone(among), "")).Draw(t, "owner")]; owner != nil {
		to = Lane{Owner: owner.ID, Incarnation: owner.Incarnation, Wanted: old.Wanted}
	}
	for _, id := range among {
		if id != to.Owner && rapid.Bool().Draw(t, "stands by") {
			to.Standbys = append(to.Standbys, id)
		}
	}
	return to
}

// grants remembers who had each epoch of each lane, for as long as there is the app.
type grants map[LaneRef]map[uint64]string

func (g grants) see(t *rapid.T, before, after *State) {
	for ref, l := range after.Lanes() {
		old, had := before.Lane(ref)
		if !had {
			g[ref] = map[uint64]string{}
		}
		if l.Epoch < old.Epoch {
			t.Fatalf("%v: the epoch falls from %d to %d", ref, old.Epoch, l.Epoch)
		}
		who := l.Owner + "/" + l.Incarnation
		if other, ok := g[ref][l.Epoch]; ok && other != who {
			t.Fatalf("%v: epoch %d belongs to %s and to %s", ref, l.Epoch, other, who)
		}
		g[ref][l.Epoch] = who
		changed := !had || old.Owner != l.Owner || old.Incarnation != l.Incarnation
		if changed && l.Owner != "" && after.OwnerOf(l) == nil {
			t.Fatalf("%v is granted to %s, who is not alive", ref, who)
		}
		if had && old.Owner != "" && l.Owner == "" && !l.Unfenced {
			t.Fatalf("%v lost its owner without a mark", ref)
		}
	}
}

// Of any log: a state that was handed out never changes; a replay, also from a snapshot, gives the
// same bytes; epochs never fall, and each belongs to one grant.
func TestAnyLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, twin := New(), New()
		g := grants{}
		for range rapid.IntRange(1, 40).Draw(t, "length") {
			entry := Encode(drawCommand(t, s))
			before := s.Snapshot()
			next, result, err := s.Apply(entry)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, s.Snapshot()) {
				t.Fatalf("%s has changed the state that it found:\n%s\n%s", entry, before, s.Snapshot())
			}
			if (next != s) != (result.Version == s.Version+1) || (next != s && result.Refused != "") {
				t.Fatalf("%s: result %+v from version %d", entry, result, s.Version)
			}
			g.see(t, s, next)
			s = next
			twin = replay(t, twin, entry, result)
			if !bytes.Equal(s.Snapshot(), twin.Snapshot()) {
				t.Fatalf("after %s two nodes differ:\n%s\n%s", entry, s.Snapshot(), twin.Snapshot())
			}
		}
	})
}

// replay is what another node does, which may have started from a snapshot just now.
func replay(t *rapid.T, twin *State, entry []byte, result Result) *State {
	if rapid.IntRange(0, 3).Draw(t, "restored") == 0 {
		restored, err := Restore(twin.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		twin = restored
	}
	next, again, err := twin.Apply(entry)
	if err != nil || again != result {
		t.Fatalf("%s: %+v here, %+v there (%v)", entry, result, again, err)
	}
	return next
}

// The bytes of format 1 stay as they are: logs and snapshots on disks have them.
func TestFormatOneStays(t *testing.T) {
	entry := `{"type":"plan","format":1,"payload":{"base":2,"dead":[{"id":"b","incarnation":"b1"}],` +
		`"lanes":[{"app":"p","lane":0,"to":{"owner":"a","incarnation":"a1","epoch":0,"standbys":["b"]}}]}}`
	c, format, err := Decode([]byte(entry))
	if err != nil || format != 1 {
		t.Fatal(format, err)
	}
	if got := string(Encode(c)); got != entry {
		t.Errorf("the entry is now\n%s\nand was\n%s", got, entry)
	}
	// As programs wrote it that knew the field and gave it no format of its own.
	app := `{"type":"put_app","format":1,"payload":{"app":{"name":"p","spec":"s","id":"i","generation":1,"partitions":4,` +
		`"repartitions":0,"standbys":1,"kafka_cluster":"k","lanes":[{"epoch":0}]},"expect":0}}`
	if old, _, err := New().Apply([]byte(app)); err != nil || old.Format != 1 || old.Apps["p"].KafkaCluster != "k" {
		t.Errorf("%s: %+v, %v", app, old, err)
	}
	snapshot := `{"type":"snapshot","format":1,"payload":{"format":1,"version":3,"cluster_id":"c","members":{"a":` +
		`{"id":"a","name":"n","incarnation":"a1","addr":"h:1","release":"1.0","format":1,"capacity":1,"alive":true}},` +
		`"apps":{"p":{"name":"p","spec":"s","id":"i","generation":1,"partitions":4,"repartitions":0,"standbys":1,` +
		`"intent":{"x":1},"lanes":[{"owner":"a","incarnation":"a1","epoch":7}]}}}}`
	s, err := Restore([]byte(snapshot))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.Snapshot()); got != snapshot {
		t.Errorf("the snapshot is now\n%s\nand was\n%s", got, snapshot)
	}
}

// What a newer program has written is never guessed at, and the error says what to start.
func TestUnknownHalts(t *testing.T) {
	s := New()
	s.Members = map[string]*Member{"b": {ID: "b", Name: "b", Release: "2.3", Format: 9}}
	for entry, want := range map[string]string{
		`{"type":"teleport","format":9,"payload":{}}`:                   "start release 2.3 of tally",
		`{"type":"drain","format":9,"payload":{"id":"a"}}`:              "of format 9, and this program knows format 3",
		`{"type":"drain","format":10,"payload":{"id":"a"}}`:             "start a release of tally that knows format 10",
		`{"type":"drain","format":1,"payload":{"id":"a","until_ms":5}}`: `unknown field "until_ms"`,
	} {
		next, _, err := s.Apply([]byte(entry))
		var unknown *UnknownError
		if !errors.As(err, &unknown) || next != s || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an UnknownError with %q", entry, err, want)
		}
	}
	for _, snapshot := range []string{
		`{"type":"snapshot","format":4,"payload":{}}`,
		`{"type":"snapshot","format":1,"payload":{"format":1,"members":{},"apps":{},"quotas":{}}}`,
	} {
		_, err := Restore([]byte(snapshot))
		var unknown *UnknownError
		if !errors.As(err, &unknown) {
			t.Errorf("%s: %v; want an UnknownError", snapshot, err)
		}
	}
}

// Damage is an error and no panic.
func TestDamagedEntries(t *testing.T) {
	for _, entry := range []string{
		"", "{}", "null", `{"type":"drain"}`, `{"type":"drain","format":0,"payload":{}}`,
		`{"type":"drain","format":1,"payload":null}`, `{"type":"drain","format":1,"payload":{}} {}`,
		`{"type":"snapshot","format":1,"payload":{"format":1,"members":{"a":null},"apps":{}}}`,
	} {
		if next, _, err := New().Apply([]byte(entry)); err == nil {
			t.Errorf("%s is taken: %+v", entry, next)
		}
		if _, err := Restore([]byte(entry)); err == nil {
			t.Errorf("%s is taken as a snapshot", entry)
		}
	}
}

// A member that does not know what the log has is refused, not let in to halt.
func TestOldMemberIsRefused(t *testing.T) {
	s := New()
	s.Format = 2
	next, result := s.Take(Command{Register: &Register{Member{
		ID: "a", Name: "a", Incarnation: "a1", Addr: "h:1", Release: "1.0", Format: 1, Capacity: 1,
	}}})
	if next != s || result.Code != Unfit || !strings.Contains(result.Refused, "format 2") {
		t.Error(result)
	}
}

// Every command has a format, and each format a command.
func TestEveryCommandHasAFormat(t *testing.T) {
	var kinds []string
	for _, c := range []Command{
		{Found: &Found{}}, {Register: &Register{}}, {Forget: &Forget{}}, {Drain: &Drain{}}, {PutApp: &PutApp{}},
		{DropApp: &DropApp{}}, {HaltApp: &HaltApp{}}, {Plan: &Plan{}}, {RaiseEpoch: &RaiseEpoch{}}, {MoveLane: &MoveLane{}},
	} {
		kinds = append(kinds, c.kind())
		if _, _, err := Decode(Encode(c)); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(kinds)
	if known := slices.Sorted(maps.Keys(formats)); !slices.Equal(kinds, known) {
		t.Errorf("commands %v, formats %v", kinds, known)
	}
}

func large(lanes int) *State {
	s := New()
	app := &App{Name: "p", ID: "i", Generation: 1, Partitions: lanes}
	for i := range 100 {
		id := fmt.Sprintf("node-%032d", i)
		s.Members[id] = &Member{ID: id, Name: fmt.Sprint("n", i), Incarnation: "incarnation", Alive: true, Format: 1}
	}
	for i := range lanes {
		owner, standby := fmt.Sprintf("node-%032d", i%100), fmt.Sprintf("node-%032d", (i+1)%100)
		app.Lanes = append(app.Lanes, Lane{Owner: owner, Incarnation: "incarnation", Epoch: 3, Standbys: []string{standby}})
	}
	s.Apps["p"] = app
	return s
}

func BenchmarkSnapshot(b *testing.B) {
	s := large(10_000)
	for b.Loop() {
		b.SetBytes(int64(len(s.Snapshot())))
	}
}

func BenchmarkApplyPlan(b *testing.B) {
	s := large(10_000)
	p := &Plan{Dead: []Death{{ID: fmt.Sprintf("node-%032d", 0), Incarnation: "incarnation"}}}
	for i := 0; i < 10_000; i += 100 {
		to := s.Apps["p"].Lanes[i]
		to.Owner, to.Standbys = to.Standbys[0], nil
		p.Lanes = append(p.Lanes, LaneChange{LaneRef{"p", i}, to})
	}
	entry := Encode(Command{Plan: p})
	for b.Loop() {
		if _, result, err := s.Apply(entry); err != nil || result.Refused != "" {
			b.Fatal(result, err)
		}
	}
}

// TestBehind: what a living member's program could not obey is told before it is written.
func TestBehind(t *testing.T) {
	plain := Command{PutApp: &PutApp{App: App{Name: "p", ID: "i", Generation: 1, Partitions: 1, Lanes: make([]Lane, 1)}}}
	ofKafka := Command{PutApp: &PutApp{App: plain.PutApp.App}}
	ofKafka.PutApp.App.KafkaCluster = "k"
	for _, c := range []struct {
		command Command
		member  Member
		said    string // "" for nothing
	}{
		{Command{Drain: &Drain{ID: "x"}}, Member{Format: 0, Alive: true}, "node old runs tally v1, which knows format 0, and this needs format 1"},
		{Command{Drain: &Drain{ID: "x"}}, Member{Format: 0}, ""},
		{Command{Drain: &Drain{ID: "x"}}, Member{Format: 1, Alive: true}, ""},
		{plain, Member{Format: 1, Alive: true}, ""},
		{ofKafka, Member{Format: 1, Alive: true}, "node old runs tally v1, which knows format 1, and this needs format 2: bring that node to a newer"},
		{ofKafka, Member{Format: 1}, ""},
		{ofKafka, Member{Format: 2, Alive: true}, ""},
	} {
		s := New()
		c.member.ID, c.member.Name, c.member.Release = "x", "old", "v1"
		s.Members["x"] = &c.member
		said := s.Behind(c.command)
		if (said == "") != (c.said == "") || !strings.Contains(said, c.said) {
			t.Errorf("of %+v to a member with format %d, alive %v, it is said: %q; want %q",
				c.command.payload(), c.member.Format, c.member.Alive, said, c.said)
		}
	}
}

// A log that has an app's Kafka is at format 2, and so is its snapshot: a program that does not
// know the field is told which one to start.
func TestKafkaClusterIsOfFormatTwo(t *testing.T) {
	put := PutApp{App: App{Name: "p", ID: "i", Generation: 1, Partitions: 1, Lanes: make([]Lane, 1)}}
	s, _, err := New().Apply(Encode(Command{PutApp: &put}))
	if err != nil || s.Format != 1 {
		t.Fatalf("without it: format %d, %v", s.Format, err)
	}
	put.App.KafkaCluster, put.Expect = "k", 1
	entry := Encode(Command{PutApp: &put})
	s, _, err = s.Apply(entry)
	if err != nil || s.Format != 2 {
		t.Fatalf("with it: format %d, %v", s.Format, err)
	}
	for _, stored := range [][]byte{entry, s.Snapshot()} {
		if e, err := open(stored); err != nil || e.Format != 2 {
			t.Errorf("%s: format %d, %v", stored, e.Format, err)
		}
	}
}
