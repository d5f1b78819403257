package check

import (
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// aRun is a right run of both apps: a takeover, an aborted transaction, faults, an end.
func aRun() *fake { return aRunOf(4) }

// aRunOf is one of so many rounds, of which each has two transactions of a lane or more.
func aRunOf(rounds int) *fake {
	f := newFake()
	one, two := f.apps["one"], f.apps["two"]
	for lane := range 2 {
		one.acquire(lane, 1, "a")
		two.acquire(lane, 1, "a")
	}
	for round := range rounds {
		f.clock += 10e9
		epoch, node := uint64(1), "a"
		if round >= 2 {
			epoch, node = 2, "b"
		}
		if round == 2 {
			for lane := range 2 {
				zombie := one.begin(lane, 1, "a")
				zombie.put(Place{one.h.Output, int32(lane)}, Record{Key: []byte("k"), Value: []byte(`{"count":99,"total":1}`)})
				zombie.offset(one.h.Input, int32(lane), 99)
				zombie.end(Abort)
				one.acquire(lane, 2, "b")
				two.acquire(lane, 2, "b")
			}
		}
		for i := range 12 {
			p := int32(i % 2)
			one.send(p, fmt.Sprintf("k%d-%d", p, i%3), fmt.Sprintf(`{"amount": %d}`, i+round))
			two.send(p, "", fmt.Sprintf("red green%d, blue red", i%5))
		}
		one.send(0, "k", "no JSON")
		for lane := range 2 {
			one.count(lane, epoch, node, 3)
			one.count(lane, epoch, node, 9)
			two.sendOn(lane, epoch, node, 4)
			two.sendOn(lane, epoch, node, 9)
			two.countPartials(lane, epoch, node)
		}
		for lane := range 2 {
			two.countPartials(lane, epoch, node)
		}
		for _, a := range []*fakeApp{one, two} {
			a.ask(node, roleOwner, epoch)
			a.ask("c", roleStandby, epoch)
		}
		f.clock += 10e9
		again := one.begin(0, epoch, node) // the offsets alone
		one.pos(again, 0, 0, func(*position) {})
		again.end(Commit)
		f.add(history.Event{Fault: &history.Fault{ID: round, Kind: "kill", Step: "flush", Exact: true, Signal: 1}})
		f.add(history.Event{Fault: &history.Fault{ID: round, Kind: "kill", Step: "flush", Exact: true, Signal: 1, Ended: f.now()}})
	}
	f.finish()
	return f
}

func (f *fake) finish() {
	last := map[string]bool{}
	for _, e := range slices.Backward(f.events) {
		if e.Read != nil && !last[e.Read.App] {
			e.Read.Last, last[e.Read.App] = true, true
		}
	}
	end := &history.End{QuietAfterMs: 900}
	for p := range f.mem {
		n := int64(len(f.mem[p]))
		end.Topics = append(end.Topics, history.Topic{Topic: p.Topic, Partition: p.Partition, End: n, LastStable: n})
	}
	for _, a := range f.apps {
		for _, w := range a.sent {
			f.answers = append(f.answers, *w)
		}
		events := 0
		for p := range a.h.Partitions {
			events += len(f.mem[Place{a.h.Input, p}])
		}
		text := fmt.Sprintf("CHECK  COMPARED  DIFFERENCES\nevents %[1]d events 0\n\nexact: %[1]d events, 9 groups, 0 differences\n", events)
		f.add(history.Event{Audit: &history.Audit{App: a.h.Name, Exact: true, Text: text}})
	}
	f.add(history.Event{End: end})
}
