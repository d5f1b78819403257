package check

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// bad is a wrong run: what breaks a right one, and the check that has to say so, in these words.
type bad struct {
	name  string
	check int
	says  string
	do    func(*fake)
}

var (
	oneOut    = Place{"one-out", 0}
	oneLog    = Place{"one.changelog", 0}
	twoLog    = Place{"two.changelog", 0}
	oneDead   = Place{"one.dead", 0}
	oneIn     = Place{"one-in", 0}
	twoOut    = Place{"two-out", 0}
	twoMiddle = Place{"two.repartition", 0}
	offsetLog = Place{OffsetsTopic, 0}
)

// committedOut is an output that is visible: of the first record the transaction is committed.
func committedOut(r *Record) bool { return isData(r) && !strings.Contains(string(r.Value), "99") }

// isSecond is a position record of a second stage, behind its first.
func isSecond(r *Record) bool {
	return isKind(kindPosition)(r) && r.Key[2] == 1 && !bytes.Contains(r.Value, []byte(`"sources":null`))
}

var wrongRuns = []bad{
	{"an output twice", Rising, "goes from", func(f *fake) {
		a, b := f.find(oneOut, 0, committedOut), f.find(oneOut, 3, committedOut)
		b.Key, b.Value = a.Key, a.Value
	}},
	{"an output of the wrong total", Rising, "the answer says", func(f *fake) {
		r := f.find(oneOut, 2, committedOut)
		r.Value = bytes.Replace(r.Value, []byte(`"total":`), []byte(`"total":7`), 1)
	}},
	{"the last output is missing", Rising, "the answer is", func(f *fake) {
		log := f.mem[twoOut]
		for i := range log {
			if j := len(log) - 1 - i; isData(&log[j]) {
				vanish(&log[j])
				break
			}
		}
	}},
	{"a counter that nobody has sent", Rising, "no such counter", func(f *fake) { f.answers = slices.Delete(f.answers, 0, 1) }},
	{"an output in a foreign partition", Rising, "belongs to partition", func(f *fake) {
		for i := range f.answers {
			if f.answers[i].App == "one" {
				f.answers[i].Partition = 1 - f.answers[i].Partition
			}
		}
	}},
	{"an output that is none", Rising, `output "no JSON"`, func(f *fake) { f.find(oneOut, 1, committedOut).Value = []byte("no JSON") }},
	{"an output under the key of another group", Rising, "is of another group", func(f *fake) {
		f.find(twoOut, 1, isData).Key = []byte(`["nobody"]`)
	}},
	{"an output under a key of two parts", Rising, "has 2 parts of 1", func(f *fake) { f.find(twoOut, 1, isData).Key = []byte(`["red","x"]`) }},
	{"an output under the event's key", Rising, "group", func(f *fake) { f.find(twoOut, 1, isData).Key = []byte("red") }},
	{"a counter that has outputs in two partitions", Rising, "was counted in partition 0 before", func(f *fake) {
		f.find(Place{"one-out", 1}, 1, committedOut).Key = f.find(oneOut, 0, committedOut).Key
	}},
	{"an output of more events than there are", Rising, "has the count 9000 of", func(f *fake) {
		f.find(oneOut, 2, committedOut).Value = []byte(`{"count":9000,"total":1}`)
	}},
	{"a changelog with a value that no events make", Mapped, ` sets ["k0-`, func(f *fake) {
		r := f.find(oneLog, 1, isKind(kindValue))
		r.Value = append([]byte{1, kindValue}, encodeAll([]decimal{{coef: 50}, {coef: 1}})...)
	}},
	{"a changelog that lacks a value", Mapped, "has no value of", func(f *fake) { vanish(f.find(oneLog, 1, isKind(kindValue))) }},
	{"a changelog with a value that nobody can read", Mapped, `the values of ["k0-`, func(f *fake) {
		f.find(oneLog, 1, isKind(kindValue)).Value = []byte{1, kindPosition}
	}},
	{"a changelog with a value of one aggregate of two", Mapped, `the values of ["k0-`, func(f *fake) {
		r := f.find(oneLog, 1, isKind(kindValue))
		r.Value = append([]byte{1, kindValue}, encodeAll([]decimal{{coef: 50}})...)
	}},
	{"a transaction with two positions", Mapped, "has two position records of one task", func(f *fake) {
		value, note := f.find(oneLog, 2, isKind(kindValue)), f.find(oneLog, 1, isKind(kindPosition))
		value.Key, value.Value = note.Key, note.Value
	}},
	{"a value behind its position", Mapped, "has a value behind its position record", func(f *fake) {
		value, note := f.find(oneLog, 0, isKind(kindValue)), f.find(oneLog, 1, isKind(kindPosition))
		value.Key, value.Value, note.Key, note.Value = note.Key, note.Value, value.Key, value.Value
	}},
	{"values without a position", Mapped, "values and no position record", func(f *fake) { vanish(f.find(oneLog, 1, isKind(kindPosition))) }},
	{"a position of another partition", Mapped, "its position record is of partition 1", func(f *fake) {
		changeNote(f.find(oneLog, 2, isKind(kindPosition)), func(p *position) { p.Partition = 1 })
	}},
	{"a position with sources that nobody has named", Mapped, "it says that it has the input up to", func(f *fake) {
		changeNote(f.find(twoLog, 1, isSecond), func(p *position) { p.Sources[0]++ })
	}},
	{"a position midway of a lane that is not", Mapped, "midway of [1]; the partials say", func(f *fake) {
		changeNote(f.find(twoLog, 1, isSecond), func(p *position) { p.Midway = []int{1} })
	}},
	{"an output that no events make", Mapped, ` says ["k0-`, func(f *fake) {
		f.find(oneOut, 2, committedOut).Value = []byte(`{"count":9000,"total":1}`)
	}},
	{"an output above the position", Mapped, "without a position", func(f *fake) {
		f.put(oneOut, Record{Txn: true, Producer: 5, Epoch: 1, Key: []byte("k"), Value: []byte(`{"count":999,"total":1}`)})
		f.put(oneOut, Record{Producer: 5, Epoch: 1, Control: Commit})
	}},
	{"an output is missing in the middle", Mapped, "has no output of", func(f *fake) { vanish(f.find(oneOut, 1, committedOut)) }},
	{"an event is not counted", Mapped, "not counted", func(f *fake) { f.put(oneIn, Record{Key: []byte("k0-0"), Value: []byte(`{"amount":1}`)}) }},
	{"an event was lost by the input", Mapped, "acknowledged", func(f *fake) {
		f.add(history.Event{Sent: &history.Sent{App: "one", Events: make([]history.Record, 1)}})
	}},
	{"a dead letter is missing", Mapped, "no dead letter of the event", func(f *fake) { vanish(f.find(oneDead, 0, isData)) }},
	{"a dead letter with other bytes", Mapped, "not what lies there", func(f *fake) { f.find(oneDead, 0, isData).Value = []byte("no json") }},
	{"a dead letter with another key", Mapped, "not what lies there", func(f *fake) { f.find(oneDead, 0, isData).Key = nil }},
	{"a dead letter of another event", Mapped, "none of its unreadable events", func(f *fake) { f.find(oneDead, 0, isData).Headers[0].Value = "0" }},
	{"a partial that nobody can read", Mapped, "sender: not as the formats say", func(f *fake) { f.find(twoMiddle, 0, isKind(kindPartial)).Value = []byte{1, kindPartial, 0} }},
	{"a partial of two values where there is one", Mapped, "partial of 2 values", func(f *fake) {
		r := f.find(twoMiddle, 0, isKind(kindPartial))
		r.Value = decimal{coef: 1}.encode(slices.Clone(r.Value))
	}},
	{"a partial of a key that nobody knows", Mapped, "not as the formats say", func(f *fake) { f.find(twoMiddle, 0, isKind(kindPartial)).Key = []byte{1, 'x', 0} }},
	{"a partial larger than anything", Mapped, "more digits than", func(f *fake) {
		for n := range 2 {
			r := f.find(twoMiddle, n, isKind(kindPartial))
			r.Key = f.find(twoMiddle, 0, isKind(kindPartial)).Key
			r.Value = decimal{coef: 1 << 62}.encode([]byte{1, kindPartial, 0, r.Value[3], 0})
		}
	}},
	{"sources that nobody can read", Mapped, "sources: not as", func(f *fake) {
		r := f.find(twoMiddle, 0, isKind(kindSources))
		r.Value = append(slices.Clone(r.Value), 0x80)
	}},
	{"a partial is lost", Mapped, "is not what its events add up to", func(f *fake) { vanish(f.find(twoMiddle, 0, isKind(kindPartial))) }},
	{"sources of other events", Mapped, "not where its positions are", func(f *fake) {
		r := f.find(twoMiddle, 0, isKind(kindSources))
		r.Value[len(r.Value)-1]++
	}},
	{"partials of nobody knows what", Mapped, "does not say what its partials are of", func(f *fake) { vanish(f.find(twoMiddle, 0, isKind(kindSources))) }},
	{"a position record with wrong numbers", Mapped, "it counts", func(f *fake) {
		changeNote(f.find(oneLog, 2, isKind(kindPosition)), func(p *position) { p.Processed++ })
	}},
	{"a position that goes back", Mapped, "follows position", func(f *fake) {
		changeNote(f.find(oneLog, 3, isKind(kindPosition)), func(p *position) { p.Input = 1 })
	}},
	{"half a transaction is aborted", Whole, "aborted here, and committed elsewhere", func(f *fake) {
		f.find(oneLog, 3, func(r *Record) bool { return r.Control == Commit }).Control = Abort
	}},
	{"a transaction that begins before its producer's last one ends", Whole, "before the transaction of", func(f *fake) {
		for epoch := range int16(2) {
			f.put(oneDead, Record{Txn: true, Producer: 77, Epoch: 1 + epoch, Key: []byte("k")})
		}
		f.put(oneDead, Record{Producer: 77, Epoch: 3, Control: Abort})
	}},
	{"a transaction is left open", Whole, "still open", func(f *fake) {
		f.put(oneDead, Record{Txn: true, Producer: 77, Epoch: 1, Key: []byte("k")})
	}},
	{"the outputs of a transaction are missing", Whole, "no output of it is committed", func(f *fake) {
		id := f.find(oneOut, 0, committedOut).Epoch
		for i := range f.mem[oneOut] {
			if r := &f.mem[oneOut][i]; r.Epoch == id || r.Epoch == id+1 {
				vanish(r)
			}
		}
	}},
	{"a transaction without its offsets", Whole, "of its offsets it has committed", func(f *fake) { vanish(f.find(offsetLog, 9, isData)) }},
	{"offsets without a position", Whole, "no position record of it is committed", func(f *fake) {
		r := *f.find(offsetLog, 0, isData)
		r.Producer, r.Epoch = 5, 1
		binary.BigEndian.PutUint64(r.Value[2:], 1e6)
		f.put(offsetLog, r)
		f.put(offsetLog, Record{Producer: 5, Epoch: 1, Control: Commit})
	}},
	{"a second end under one epoch", Whole, "after epoch", func(f *fake) {
		r := f.find(oneOut, 0, isData)
		late := *r
		late.Value = []byte(`{"count":1000,"total":1}`)
		f.put(oneOut, late)
		f.put(oneOut, Record{Producer: late.Producer, Epoch: late.Epoch + 1, Control: Commit})
	}},
	{"an output outside of any transaction", Whole, "outside of any transaction", func(f *fake) {
		f.put(oneOut, Record{Key: []byte("k"), Value: []byte(`{"count":1000,"total":1}`)})
	}},
	{"an offset that falls", Offsets, "goes from", func(f *fake) {
		r := f.find(offsetLog, len(f.mem[offsetLog])/3, isData)
		r.Value = slices.Clone(r.Value)
		binary.BigEndian.PutUint64(r.Value[2:], 1<<40)
	}},
	{"a digest that is wrong", Stores, "the changelog up to it has", func(f *fake) {
		changeNote(f.find(oneLog, 2, isKind(kindPosition)), func(p *position) { p.Digest++ })
	}},
	{"an opened store that lacks a group", Stores, "the changelog below it has", func(f *fake) { f.lastStore().Groups-- }},
	{"an opened store with another value", Stores, "the store of", func(f *fake) { f.lastStore().Digest-- }},
	{"an opened store of half a transaction that lacks a value", Stores, "the changelog below it has", func(f *fake) {
		s := f.lastStore()
		for i := range f.mem[twoLog] {
			if r := &f.mem[twoLog][i]; r.Offset < s.Changelog && isKind(kindValue)(r) {
				s.Changelog = r.Offset + 1
			}
		}
		s.Digest--
	}},
	{"an opened store of a node that died that lacks a group", Stores, "when its start 3 ended", func(f *fake) {
		s := f.lastStore()
		s.Start, s.Groups = 3, s.Groups-1
		f.died(*s, f.now())
	}},
	{"a store that is damaged by nothing", Stores, "nothing has damaged it", func(f *fake) {
		f.fault("flip", "b", `kind=flip`, f.now(), f.now())
		f.stores = append(f.stores, history.Store{App: "one", Node: "a", Damaged: "state is damaged"})
	}},
	{"a store that is damaged where bits of others were turned over", Stores, "nothing has damaged it", func(f *fake) {
		f.fault("flip", "a", `kind=flip`, f.now(), f.now())
		f.events[len(f.events)-1].Fault.Flipped = []string{"one/1/000004.sst", "two/0/000004.sst"}
		f.stores = append(f.stores, history.Store{App: "one", Node: "a", Damaged: "state is damaged", Files: []string{"000004.sst"}})
	}},
	{"a store that is damaged though the file is gone of which bits were turned over", Stores, "nothing has damaged it", func(f *fake) {
		f.fault("flip", "a", `kind=flip`, f.now(), f.now())
		f.events[len(f.events)-1].Fault.Flipped = []string{"one/0/000004.sst"}
		f.stores = append(f.stores, history.Store{App: "one", Node: "a", Damaged: "state is damaged", Files: []string{"LOCK", "000009.sst"}})
	}},
	{"a store that is damaged by a full disk", Stores, "nothing has damaged it", func(f *fake) {
		f.fault("disk", "b a", `kind=disk`, f.now(), f.now())
		f.stores = append(f.stores, history.Store{App: "one", Node: "a", Damaged: "state is damaged"})
	}},
	{"a store that is damaged before its bits are turned over", Stores, "nothing has damaged it", func(f *fake) {
		s := history.Store{App: "one", Node: "a", Start: 2, Damaged: "state is damaged"}
		f.died(s, f.now())
		f.clock += 10e9
		f.fault("flip", "a", `kind=flip`, f.now(), f.now())
		f.stores = append(f.stores, s)
	}},
	{"a store that is damaged though what was damaged is gone", Stores, "nothing has damaged it", func(f *fake) {
		f.fault("flip", "a", `kind=flip`, f.now(), f.now())
		f.clock += 10e9
		f.fault("wipe", "a", `kind=wipe`, f.now(), f.now())
		f.stores = append(f.stores, history.Store{App: "one", Node: "a", Damaged: "state is damaged"})
	}},
	{"a store that is damaged though a fault has taken away what was damaged", Stores, "nothing has damaged it", func(f *fake) {
		f.fault("flip", "a", `kind=flip`, f.now(), f.now())
		f.clock += 10e9
		f.fault("kill", "a", `kind=kill step=ingest`, f.now(), f.now())
		f.events[len(f.events)-1].Fault.Emptied = []history.Emptied{{Node: "a", Began: f.now(), Ended: f.now()}}
		f.stores = append(f.stores, history.Store{App: "one", Node: "a", Damaged: "state is damaged"})
	}},
	{"a store of another app", Stores, "cannot be opened", func(f *fake) {
		f.fault("flip", "a", `kind=flip`, f.now(), f.now())
		f.stores = append(f.stores, history.Store{App: "one", Node: "a", Refused: "the state was written with app_id"})
	}},
	{"a scan without a group", Stores, "not those of the changelog", func(f *fake) {
		r := f.lastRead("scan", roleStandby)
		r.Counts = r.Counts[1:]
	}},
	{"an epoch that falls", Epochs, "comes behind epoch", func(f *fake) {
		changeNote(f.find(oneLog, 0, isKind(kindPosition)), func(p *position) { p.Epoch = 9 })
	}},
	{"two writers of one epoch", Epochs, "as a (a1) has done", func(f *fake) {
		changeNote(f.find(oneLog, 1, isKind(kindPosition)), func(p *position) { p.Incarnation, p.NodeName = "other", "z" })
	}},
	{"a position record that nobody can read", Epochs, "nobody can read it: {", func(f *fake) {
		f.find(oneLog, 1, isKind(kindPosition)).Value = []byte{1, kindPosition, '{'}
	}},
	{"a barrier that nobody can read", Epochs, "not as the formats say", func(f *fake) { f.find(oneLog, 0, isKind(kindBarrier)).Value = nil }},
	{"a key of the changelog that nobody knows", Epochs, "not as the formats say", func(f *fake) { f.find(oneLog, 1, isKind(kindValue)).Key = []byte{2, 'v', 0, 0} }},
	{"two transactions that lie in each other", Epochs, "in the midst of", func(f *fake) { f.interleave() }},
	{"an answer before its commit", Reads, "which has come there, was committed 9.", func(f *fake) {
		f.answerEarly(10 * time.Second)
		f.unasked()
	}},
	{"an answer a moment before anybody has asked for its commit", Reads, "after the answer", func(f *fake) { f.answerEarly(50 * time.Millisecond) }},
	{"an answer before anybody has asked for its commit, beside faults of brokers", Reads, "after the answer", func(f *fake) {
		r := f.answerEarly(time.Second)
		for _, kind := range []string{"broker-kill", "broker-stop", "broker-cut", "controller-kill"} {
			f.fault(kind, "broker 2", "", r.Ended.Add(-time.Second), r.Ended.Add(2*time.Second))
		}
	}},
	{"an answer before a commit that was asked for twice", Reads, "after the answer", func(f *fake) {
		f.answerEarly(50 * time.Millisecond)
		for _, e := range slices.Clone(f.events) {
			if e.Commit != nil {
				f.add(history.Event{Commit: e.Commit})
			}
		}
	}},
	{"a scan of one partition", Reads, "no part of the partitions [1]", func(f *fake) {
		r := f.lastRead("scan", roleOwner)
		r.Parts = r.Parts[:1]
	}},
	{"a top that has a partition twice", Reads, "2 parts of partition 0", func(f *fake) {
		r := f.lastRead("top", roleOwner)
		r.Parts = append(slices.Clone(r.Parts), r.Parts[0])
	}},
	{"a get of a partition that is not there", Reads, "part of partition 2", func(f *fake) {
		r := f.lastRead("get", roleOwner)
		part := r.Parts[0]
		part.Partition, part.Position = 2, map[string]int64{"two.repartition/2": 0}
		r.Parts = append(slices.Clone(r.Parts), part)
	}},
	{"a get at a partition that does not count the group", Reads, "which counts", func(f *fake) {
		late := f.lastRead("get", roleOwner) // of a group that nobody counts, at partition 1
		for _, r := range slices.Backward(f.reads("two", "get", roleOwner, 2)) {
			if r.Parts[0].Partition == 0 && r.Counts != nil {
				r.Parts, r.Counts = late.Parts, nil
				break
			}
		}
	}},
	{"a get that says more than its parts", Reads, "its parts add up to", func(f *fake) {
		r := f.firstRead("get", "one")
		r.Counts = []history.Count{{Group: r.Asked, Values: json.RawMessage(`{"count":4,"total":1}`)}}
	}},
	{"a get that does not say what its parts do", Reads, "its parts add up to", func(f *fake) { f.firstRead("get", "one").Counts = nil }},
	{"a get about another group", Reads, "was asked for", func(f *fake) {
		r := f.firstRead("get", "one")
		r.Counts = []history.Count{{Group: `["x"]`, Values: r.Counts[0].Values}}
	}},
	{"a get whose values are no numbers", Reads, "nobody can read what it says of partition 0", func(f *fake) {
		r := f.firstRead("get", "one")
		r.Parts = slices.Clone(r.Parts)
		r.Parts[0].Values = json.RawMessage(`{"count":"many","total":1}`)
	}},
	{"a get that says no numbers", Reads, "nobody can read what it says: ", func(f *fake) {
		r := f.firstRead("get", "one")
		r.Counts = []history.Count{{Group: r.Asked, Values: json.RawMessage(`{"count":"many","total":1}`)}}
	}},
	{"a scan with a group that is no array", Reads, "nobody can read what it lists", func(f *fake) {
		r := f.lastRead("scan", roleOwner)
		r.Counts = append(slices.Clone(r.Counts), history.Count{Group: "red", Values: json.RawMessage(`{"count":1}`)})
	}},
	{"a last question that has no answer", Reads, "the last question had no answer: nobody was there", func(f *fake) {
		f.add(history.Event{Read: &history.Read{App: "one", Ask: "get", Reader: "r", Last: true, Error: "nobody was there", Ended: f.now()}})
	}},
	{"an empty top", Reads, "it lists 0 groups", func(f *fake) { f.lastRead("top", roleOwner).Counts = nil }},
	{"a top of fewer than were asked for", Reads, "it lists 3 groups, of ", func(f *fake) {
		r := f.lastRead("top", roleOwner)
		r.Counts = r.Counts[:3]
	}},
	{"a top with a group that is nowhere", Reads, "which 0 partitions have", func(f *fake) {
		r := f.lastRead("top", roleOwner)
		r.Counts = append(slices.Clone(r.Counts), history.Count{Group: `["made up"]`, Values: json.RawMessage(`{"count":1}`)})
	}},
	{"a top with a group twice", Reads, "twice", func(f *fake) {
		r := f.lastRead("top", roleOwner)
		r.Counts = append(slices.Clone(r.Counts), r.Counts[0])
	}},
	{"a top with another value", Reads, "b says that [", func(f *fake) {
		r := f.lastRead("top", roleOwner)
		r.Counts = slices.Clone(r.Counts)
		r.Counts[0].Values = json.RawMessage(`{"count":7777}`)
	}},
	{"an answer that names no position", Reads, "it names no position in partition 0", func(f *fake) {
		delete(f.firstRead("get", "one").Parts[0].Position, "one-in/0")
	}},
	{"an answer after what is no event", Reads, "nobody can ask for after one-in/0:x", func(f *fake) { f.firstRead("get", "one").After = "one-in/0:x" }},
	{"an answer of what was not committed", Reads, "where it is", func(f *fake) {
		r := f.lastRead("get", roleOwner)
		r.Parts[0].Values = json.RawMessage(strings.Replace(`{"count":77}`, "}", `,"total":1}`, 1))
	}},
	{"a position where nothing ended", Reads, "where no transaction ended", func(f *fake) {
		f.firstRead("get", "one").Parts[0].Position["one-in/0"]--
	}},
	{"a stale answer that says to be newer", Reads, "where", func(f *fake) {
		late, early := f.lastRead("get", roleStandby), f.firstRead("get", "two")
		late.Asked = early.Asked
		late.Parts[0].Values = early.Parts[0].Values
	}},
	{"an answer older than its token", Reads, "its token was of position", func(f *fake) {
		late, early := f.lastRead("scan", roleOwner), f.firstRead("scan", "two")
		late.Parts, late.Counts = early.Parts, early.Counts
	}},
	{"an owner whose answers go back", Reads, "answers at position", func(f *fake) {
		late, early := f.readAt("one", "get", roleOwner, 1, 1), f.readAt("one", "get", roleOwner, 1, 0)
		late.Parts, late.Asked, late.TokenIn = early.Parts, early.Asked, ""
	}},
	{"an old answer that says to be new", Reads, "events more were known", func(f *fake) { f.answerLate("one") }},
	{"an old answer through two stages that says to be new", Reads, "events more were known", func(f *fake) { f.answerLate("two") }},
	{"an old answer with less lag than it has", Reads, "events more were known", func(f *fake) { f.answerLate("two").Parts[0].Lag = 3 }},
	{"an answer that lacks an event of a second ago", Reads, "1 events more were known", func(f *fake) { f.answerAfter(1200 * time.Millisecond) }},
	{"an old answer beside a broker that was killed", Reads, "events more were known", func(f *fake) {
		r := f.answerLate("one")
		f.fault("broker-kill", "broker 2", "", r.Ended.Add(-5*time.Second), r.Ended.Add(time.Second))
	}},
	{"an old answer long after a broker was stopped", Reads, "events more were known", func(f *fake) {
		r := f.answerLate("one")
		f.fault("broker-stop", "broker 2", "", r.Ended.Add(-25*time.Second), r.Ended.Add(-7*time.Second))
	}},
	{"an old answer long after a broker was cut off", Reads, "events more were known", func(f *fake) {
		r := f.answerLate("two")
		f.fault("broker-cut", "broker 2", "", r.Ended.Add(-25*time.Second), r.Ended.Add(-7*time.Second))
	}},
	{"an answer that is of the future", Reads, "which was not yet", func(f *fake) {
		r := f.lastRead("get", roleOwner)
		r.Parts[0].AsOfMs = r.Ended.UnixMilli() + 5000
	}},
	{"an answer of the future beside another clock that is off", Reads, "which was not yet", func(f *fake) {
		r := f.lastRead("get", roleOwner)
		f.fault("clock", "b", `kind=clock param="30"`, r.Ended, f.now())
		r.Parts[0].AsOfMs = r.Ended.UnixMilli() + 5000
	}},
	{"a standby that nobody has asked for", Reads, "nobody asked for that", func(f *fake) { f.lastRead("get", roleStandby).Stale = false }},
	{"a top that lacks the largest", Reads, "is not listed", func(f *fake) {
		r := f.lastRead("top", roleOwner)
		r.Counts = []history.Count{smallest(r.Counts)}
	}},
	{"an answer that is not after the event", Reads, "asked for after", func(f *fake) { f.firstRead("get", "one").After = "one-in/0:500" }},
	{"an answer through two stages that is not after the event", Reads, "behind which are counts", func(f *fake) {
		f.firstRead("get", "two").After = "two-in/0:20"
	}},
	{"an old owner that goes on answering", Ownership, "after b was seen to own it", func(f *fake) {
		r := *f.readAt("one", "get", roleOwner, 1, 0)
		last := f.lastRead("get", roleOwner)
		r.Began, r.Ended, r.TokenIn = last.Ended.Add(1), last.Ended.Add(2), ""
		f.events = append(f.events, history.Event{Read: &r})
	}},
	{"two owners under one epoch", Ownership, "owns it under epoch", func(f *fake) {
		f.add(history.Event{Status: &history.Status{Node: "z", Lanes: []history.Lane{{App: "one", Lane: 0, Owner: "z", Epoch: 2}}}})
	}},
	{"an owner that answers after a newer one has committed", Ownership, "seen to own it", func(f *fake) {
		r := *f.readAt("one", "get", roleOwner, 1, 0)
		r.Began, r.Ended, r.TokenIn = f.now(), f.now(), ""
		kept := f.events[:0]
		for _, e := range f.events {
			if e.Read == nil || e.Read.Parts[0].Epoch == 1 {
				kept = append(kept, e)
			}
		}
		f.events = append(kept, history.Event{Read: &r})
	}},
	{"it is never quiet", Quiet, "never quiet", func(f *fake) { f.end().QuietAfterMs = -1 }},
	{"it is quiet too late", Quiet, "quiet only", func(f *fake) { f.end().QuietAfterMs = 31_000 }},
	{"lag is left", Quiet, "lag 3", func(f *fake) { f.end().Lag = 3 }},
	{"records wait that the cluster does not see", Quiet, "3 records behind", func(f *fake) { f.end().Waiting = 3 }},
	{"a last stable offset below the end", Quiet, "last stable", func(f *fake) { f.end().Topics[0].LastStable-- }},
	{"the run was cut off", Quiet, "cut off", func(f *fake) { f.events = f.events[:len(f.events)-1] }},
	{"an audit that finds a difference", Audit, "exits 4", func(f *fake) {
		f.add(history.Event{Audit: &history.Audit{App: "two", Code: 4}})
	}},
	{"an audit of no events", Audit, "has counted 0 events, and there are 52", func(f *fake) {
		f.add(history.Event{Audit: &history.Audit{App: "one", Exact: true, Text: "exact: 0 events, 0 groups, 0 differences\n"}})
	}},
	{"an audit that does not say of what", Audit, "does not say of how many events", func(f *fake) {
		f.add(history.Event{Audit: &history.Audit{App: "one", Exact: true, Text: "undecided: 52 events"}})
	}},
	{"no audit", Audit, "was not audited", func(f *fake) {
		f.events = slices.DeleteFunc(f.events, func(e history.Event) bool { return e.Audit != nil && e.Audit.App == "two" })
	}},
}

// TestWrongRuns: every check can fail.
func TestWrongRuns(t *testing.T) {
	caught := map[int]bool{}
	for _, b := range wrongRuns {
		t.Run(strings.ReplaceAll(b.name, " ", "-"), func(t *testing.T) {
			f := aRun()
			b.do(f)
			rep, err := f.judge()
			if err != nil {
				t.Fatal(err)
			}
			c := rep.Of(b.check)
			if !slices.ContainsFunc(c.Examples, func(e Difference) bool { return strings.Contains(e.Says, b.says) }) {
				var text strings.Builder
				_ = rep.WriteText(&text)
				t.Fatalf("check %d does not say %q:\n%s", b.check, b.says, text.String())
			}
			caught[b.check] = true
			for i := range rep.Checks {
				wantDifferences(t, &rep.Checks[i])
			}
		})
	}
	for n := 1; n <= checksCount; n++ {
		if !caught[n] {
			t.Errorf("no wrong run is caught by check %d", n)
		}
	}
}
