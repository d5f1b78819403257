package chaos

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tally-kafka/tally/internal/api"
)

// roles are what a broker is for an app. It is stopped for having these and no others, so that it
// is known whose old answers were met.
type roles struct {
	name                                  string
	transactions, group, changelog, input bool
}

func (r roles) String() string { return r.name }

var allRoles = []roles{
	{name: "group coordinator and changelog leader", group: true, changelog: true},
	{name: "changelog leader", changelog: true},
	{name: "transaction coordinator", transactions: true},
	{name: "group coordinator", group: true},
	{name: "input leader", input: true},
	{name: "all in one", transactions: true, group: true, changelog: true, input: true},
}

// lies are the questions to which a broker that was deposed from these roles gives old answers.
func (r roles) lies() (what []string) {
	for _, l := range []struct {
		has  bool
		what string
	}{{r.changelog, lieEnds}, {r.changelog, lieLeader}, {r.input, lieInput}, {r.group, lieOffsets}, {r.transactions, lieEpoch}} {
		if l.has {
			what = append(what, l.what)
		}
	}
	return what
}

// deposedLanes is the number of lanes of a deposed broker's app: one, since the coordinators of
// several transactional ids that differ by a digit are different brokers.
const deposedLanes = 1

func laneIDs(app string) (ids []string) {
	for k := range deposedLanes {
		ids = append(ids, fmt.Sprintf("%s.lane-%d", app, k))
	}
	return ids
}

// testDeposed stops a broker for so long that others take over what it led, and lets it go on while
// a node acquires the app: for a moment, or for as long as it hears nothing of the others, that
// broker answers as if nothing had happened. None of that may be believed.
func testDeposed(t *testing.T, s *suite) {
	told, all := lies{}, true
	for _, r := range allRoles {
		for _, parted := range []bool{false, true} {
			name := r.name
			if parted {
				name += " parted"
			}
			ran := false
			t.Run(name, func(t *testing.T) {
				told.add(deposed(t, s, r, parted))
				ran = true
			})
			all = all && ran
		}
	}
	t.Logf("old answers without an error, over all tries: %v", told)
	for _, what := range lieNames {
		if all && told[what] == 0 {
			t.Errorf("no deposed broker ever gave an old answer to %s: the test has tested nothing", what)
		}
	}
}

// deposed is one try. parted keeps the broker from hearing that it was deposed for some seconds
// after it goes on.
func deposed(t *testing.T, s *suite, r roles, parted bool) lies {
	random := s.rand(t) // the job's own is the load's
	victim, takeover, named := int32(1+random.IntN(3)), random.IntN(2) == 0, s.cluster.Addrs()
	random.Shuffle(len(named), func(a, b int) { named[a], named[b] = named[b], named[a] })
	if random.IntN(3) > 0 {
		named = s.cluster.Addrs()[victim-1 : victim] // the deposed one alone
	}
	j := s.jobFor(t, r, victim)
	first := j.machine("first")
	load := j.produce(400, wordEvents(j.rand))
	p := first.start()
	p.awaitStatus(60*time.Second, "the first node counts", func(st api.AppStatus) string { return atLeast(st.Processed, 500) })
	j.give(r, victim)
	load.awaitMore(500)
	j.pause(p, load)
	stopped := 30 * time.Second
	if parted {
		stopped = 12 * time.Second
	}
	frozen := j.freeze(victim)
	load = j.produce(400, wordEvents(j.rand))
	j.awaitDeposed(p, victim, frozen, stopped)
	truth := j.truth(victim)
	if parted {
		s.cluster.Part(int(victim))
		defer s.cluster.Join(int(victim))
	}

	how, taker := "a second node takes over", j.machine("second", "--takeover")
	if !takeover {
		how, taker = "the first node is killed and starts from nothing", first
		p.kill()
		must(t, os.RemoveAll(filepath.Join(first.dir, "state")))
	}
	taker.brokers = named
	probe := j.probe(victim)
	began := time.Now()
	s.cluster.Cont(int(victim))
	second := taker.start()
	if parted {
		second.runsWithin(partedFor)
		s.cluster.Join(int(victim))
	}
	second.awaitStatus(60*time.Second, "the node that acquires runs", allRun)
	ran := time.Since(began)
	load.awaitMore(1000)
	load.stop()
	told := probe.stop(truth)
	j.verify(second)
	j.verifyAudit(second)
	t.Logf("broker %d, %s; %s with %d of the brokers named, and ran %.1f s after the broker went on; old answers: %v",
		victim, r, how, len(taker.brokers), ran.Seconds(), told)
	lied := func(what string) bool { return told[what] > 0 }
	if parted && !slices.ContainsFunc(r.lies(), lied) {
		t.Errorf("the broker heard nothing of the others and yet gave no old answer: the test has tested nothing")
	}
	return told
}

// partedFor is how long a broker is kept from hearing that it was deposed, at most: an acquire may
// end sooner, when a write that such a broker cannot acknowledge makes the client look elsewhere.
const partedFor = 5 * time.Second

// runsWithin waits until all lanes run, but no longer than so.
func (p *process) runsWithin(within time.Duration) {
	p.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if st, err := p.status(); err == nil && allRun(st) == "" {
			return
		}
	}
}

// jobFor makes an app whose coordinators are as the roles say: a name is looked for.
func (s *suite) jobFor(t *testing.T, r roles, victim int32) *job {
	t.Helper()
	ctx := ctxOf(t)
	s.balance(t)
	b := s.broker(t, victim)
	random := s.rand(t)
	for range 500 {
		app := fmt.Sprintf("chaos-%06d", random.IntN(1_000_000))
		ids := laneIDs(app)
		groups, err := b.coordinators(ctx, false, app)
		must(t, err)
		txns, err := b.coordinators(ctx, true, ids...)
		must(t, err)
		if (groups[app] == victim) != r.group {
			continue
		}
		if !slices.ContainsFunc(ids, func(id string) bool { return (txns[id] == victim) != r.transactions }) {
			j := newJobNamed(t, s, jobSpec{lanes: deposedLanes}, app)
			j.knownEverywhere(j.input())
			return j
		}
	}
	t.Fatalf("no app found with broker %d as %s", victim, r)
	return nil
}

// knownEverywhere waits until each broker knows a topic that was just made: a node asks one of them
// whether there is such a topic.
func (j *job) knownEverywhere(topic string) {
	j.t.Helper()
	for id := int32(1); id <= 3; id++ {
		eventually(j.t, 20*time.Second, "each broker knows the input", func() string {
			leaders, err := j.s.broker(j.t, id).leaders(j.ctx, topic)
			must(j.t, err)
			return atLeast(int64(len(leaders)), partitions)
		})
	}
}

// give makes the broker the leader of the app's partitions as the roles say, and others of the
// rest.
func (j *job) give(r roles, victim int32) {
	j.t.Helper()
	others := slices.DeleteFunc([]int32{1, 2, 3}, func(b int32) bool { return b == victim })
	for topic, lead := range map[string]bool{j.input(): r.input, j.app + ".changelog": r.changelog, j.output(): r.changelog && r.input} {
		order := append(slices.Clone(others), victim)
		if lead {
			order = append([]int32{victim}, others...)
		}
		j.lead(topic, order)
	}
}

// lead makes the first broker the leader of all of a topic's partitions.
func (j *job) lead(topic string, order []int32) {
	j.t.Helper()
	adm := j.s.kadm(j.t)
	req, set := kadm.AlterPartitionAssignmentsReq{}, kadm.TopicsSet{}
	for p := range int32(partitions) {
		req.Assign(topic, p, order)
		set.Add(topic, p)
	}
	altered, err := adm.AlterPartitionAssignments(j.ctx, req)
	must(j.t, err)
	must(j.t, altered.Error())
	leader := j.s.broker(j.t, order[0])
	eventually(j.t, 30*time.Second, fmt.Sprintf("broker %d leads %s", order[0], topic), func() string {
		if _, err := adm.ElectLeaders(j.ctx, kadm.ElectPreferredReplica, set); err != nil {
			return err.Error()
		}
		leaders, err := leader.leaders(j.ctx, topic)
		if err != nil {
			return err.Error()
		}
		for p, l := range leaders {
			if l != order[0] {
				return fmt.Sprintf("partition %d is led by %d", p, l)
			}
		}
		return ""
	})
}

// pause ends the load and waits until nothing is under way: a coordinator that is frozen with an
// open transaction calls the offsets unstable, which nobody would believe anyway.
func (j *job) pause(p *process, load *load) {
	j.t.Helper()
	load.stop()
	p.awaitStatus(60*time.Second, "all is counted", func(st api.AppStatus) string {
		if st.Lag > 0 {
			return fmt.Sprintf("lag %d", st.Lag)
		}
		return ""
	})
	j.verifyNothingOpen(j.input(), j.output(), j.app+".changelog")
}

// freeze stops a broker, and says when.
func (j *job) freeze(broker int32) time.Time {
	j.s.cluster.Stop(int(broker))
	j.t.Cleanup(func() { j.s.cluster.Cont(int(broker)) })
	return time.Now()
}

// awaitDeposed waits until the others have taken over what the frozen broker had and the owner has
// counted on, but at least for so long.
func (j *job) awaitDeposed(p *process, victim int32, frozen time.Time, atLeastFor time.Duration) {
	j.t.Helper()
	before, err := p.status()
	must(j.t, err)
	j.awaitMoved(victim)
	moved := time.Since(frozen)
	p.awaitStatus(90*time.Second, "the owner commits on without the broker", func(st api.AppStatus) string {
		return atLeast(st.Processed, before.Processed+1000)
	})
	counted := time.Since(frozen)
	if rest := atLeastFor - counted; rest > 0 {
		<-time.After(rest) // an outage has a length; there is nothing to poll for
	}
	j.t.Logf("leadership had moved after %.1f s, the owner had counted on after %.1f s", moved.Seconds(), counted.Seconds())
}

// awaitMoved waits until the broker is neither leader nor coordinator of anything of the app.
func (j *job) awaitMoved(victim int32) {
	j.t.Helper()
	b := j.s.broker(j.t, victim%3+1)
	ids := laneIDs(j.app)
	eventually(j.t, 60*time.Second, "leadership moves", func() string {
		for _, topic := range []string{j.input(), j.output(), j.app + ".changelog"} {
			leaders, err := b.leaders(j.ctx, topic)
			if err != nil || len(leaders) < partitions {
				return fmt.Sprintf("the leaders of %s are %v: %v", topic, leaders, err)
			}
			if slices.Contains(slices.Collect(maps.Values(leaders)), victim) {
				return "it still leads partitions of " + topic
			}
		}
		groups, err := b.coordinators(j.ctx, false, j.app)
		if err != nil || groups[j.app] == victim {
			return fmt.Sprintf("the consumer group's coordinator is %d: %v", groups[j.app], err)
		}
		txns, err := b.coordinators(j.ctx, true, ids...)
		if err != nil || slices.Contains(slices.Collect(maps.Values(txns)), victim) {
			return fmt.Sprintf("the coordinators of the transactions are %v: %v", txns, err)
		}
		return ""
	})
}
