package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// fleet is a cluster under test: its machines, those of them that run, and two apps, of one stage
// and of two.
type fleet struct {
	t        testing.TB
	s        *suite
	ctx      context.Context
	machines map[string]*machine
	up       map[string]*process
	join     string
	net      *link.Network // between the nodes; nil: they reach each other without a proxy
	brokers  []string      // by which the nodes reach Kafka
	guard    *guard        // nil: without certificates and tokens
	jobs     []*job
	gauges   []*gauge
	loads    []*load
	rows     []row
	frozen   freeze
}

// newFleet starts three nodes at once, with certificates and tokens as on several machines, and
// submits the apps to one of them.
func newFleet(t *testing.T, s *suite) *fleet {
	t.Helper()
	f := &fleet{t: t, s: s, brokers: s.cluster.Addrs(), guard: newGuard(t, s.bin, nodeNames...)}
	f.open(s.bin)
	return f
}

// nodeNames are those of a fleet; the last one joins later.
var nodeNames = []string{"a", "b", "c", "d"}

// open starts the fleet with a binary.
func (f *fleet) open(bin string) {
	f.t.Helper()
	t, s := f.t, f.s
	f.ctx, f.machines, f.up = longCtx(t), map[string]*machine{}, map[string]*process{}
	f.jobs = []*job{
		newJobNamed(t, s, jobSpec{}, "fleet-one"),
		newJobNamed(t, s, jobSpec{byItem: true}, "fleet-two"),
	}
	for _, j := range f.jobs {
		j.ctx = f.ctx
		f.gauges = append(f.gauges, newGauge(j))
	}
	addrs := freeAddrs(t, len(nodeNames))
	dialled := slices.Clone(addrs)
	for i, name := range nodeNames {
		if f.net != nil {
			var err error
			dialled[i], err = f.net.Listen(name, addrs[i])
			must(t, err)
		}
	}
	f.join = strings.Join(dialled[:3], ",")
	for i, name := range nodeNames {
		m := f.jobs[0].machine(name, append(f.guard.run(name), "--join", f.join, "--advertise", dialled[i])...)
		m.listen, m.bare, m.bin, m.brokers, m.guard = addrs[i], true, bin, f.brokers, f.guard
		f.machines[name] = m
	}
	began := time.Now()
	f.start("a", "b", "c")
	for _, j := range f.jobs {
		f.tally("submit", j.specFile)
	}
	f.awaitHealthy(30*time.Second, 3)
	t.Logf("three nodes and two apps ran after %d ms", time.Since(began).Milliseconds())
}

func longCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 55*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// freeAddrs are addresses at which nobody listens, and that no other test is given until this one
// ends.
func freeAddrs(t testing.TB, n int) (addrs []string) {
	for range n {
		addrs = append(addrs, testkafka.FreeAddr(t))
	}
	return addrs
}

func (f *fleet) start(names ...string) {
	f.t.Helper()
	for _, name := range names {
		f.up[name] = f.machines[name].start()
		f.up[name].addr = f.guard.url(f.machines[name].listen)
		if f.net != nil {
			f.net.Register(name, f.up[name].cmd.Process.Pid)
		}
	}
}

// names are those of the nodes that run.
func (f *fleet) names() (names []string) {
	for name := range f.up {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// any is a node that runs and is none of these.
func (f *fleet) any(but ...string) *process {
	for _, name := range f.names() {
		if !slices.Contains(but, name) {
			return f.up[name]
		}
	}
	panic("no node runs")
}

// of is the same process, asked for another app.
func (p *process) of(j *job) *process {
	m := *p.m
	m.job = j
	return &process{t: p.t, m: &m, cmd: p.cmd, log: p.log, done: p.done, addr: p.addr}
}

// tally runs a command against a node, for as long as a node that starts needs until it answers.
func (f *fleet) tally(args ...string) string {
	f.t.Helper()
	var out []byte
	eventually(f.t, 40*time.Second, "tally "+strings.Join(args, " "), func() string {
		ctx, cancel := context.WithTimeout(f.ctx, 35*time.Second)
		defer cancel()
		all := f.guard.command(f.any().addr, args...)
		var err error
		out, err = exec.CommandContext(ctx, f.s.bin, all...).CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return ""
		case errors.As(err, &exit) && exit.ExitCode() == 1:
			return string(out)
		}
		f.t.Fatalf("tally %s: %v\n%s", strings.Join(all, " "), err, out)
		return ""
	})
	return string(out)
}

// status is what `tally status --json` prints.
func (f *fleet) status() (st api.Status, err error) {
	return f.statusAt(f.any())
}

func (f *fleet) statusAt(p *process) (st api.Status, err error) {
	ctx, cancel := context.WithTimeout(f.ctx, 5*time.Second)
	defer cancel()
	return p.client().Status(ctx)
}

// leader is the node that leads, once all are of one mind.
func (f *fleet) leader() (name string) {
	f.t.Helper()
	eventually(f.t, 30*time.Second, "a node leads", func() string {
		st, err := f.status()
		if err != nil {
			return err.Error()
		}
		name = st.Leader
		if f.up[name] == nil {
			return fmt.Sprintf("the leader is %q", name)
		}
		return ""
	})
	return name
}

// owners are nodes with lanes, apart from these.
func (f *fleet) owners(but ...string) (names []string) {
	f.t.Helper()
	st, err := f.status()
	must(f.t, err)
	for _, n := range st.Nodes {
		if n.Lanes > 0 && !slices.Contains(but, n.Name) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}

// owner is a node with lanes that does not lead.
func (f *fleet) owner() string {
	f.t.Helper()
	names := f.owners(f.leader())
	if len(names) == 0 {
		f.t.Fatal("no node but the leader owns a lane")
	}
	return names[f.jobs[0].rand.IntN(len(names))]
}

// awaitHealthy waits until each lane runs at one node, follows at another, and nothing moves, with
// so many nodes alive.
func (f *fleet) awaitHealthy(within time.Duration, alive int) {
	f.t.Helper()
	eventually(f.t, within, "the cluster is as it shall be", func() string {
		for _, name := range f.names() {
			if f.up[name].ended() {
				f.t.Fatalf("node %s ended by itself: %v", name, f.up[name].cmd.ProcessState)
			}
		}
		st, err := f.status()
		if err != nil {
			return err.Error()
		}
		if missing := f.unhealthy(st, alive); missing != "" {
			return missing + "; problems: " + strings.Join(st.Problems, "; ")
		}
		return f.notOne()
	})
}

func (f *fleet) unhealthy(st api.Status, alive int) string {
	live := 0
	for _, n := range st.Nodes {
		if n.Alive {
			live++
		}
	}
	if live != alive || len(st.Apps) != len(f.jobs) {
		return fmt.Sprintf("%d nodes are alive, %d apps run", live, len(st.Apps))
	}
	for _, a := range st.Apps {
		if len(a.Lanes) != partitions {
			return fmt.Sprintf("app %s has %d lanes", a.App, len(a.Lanes))
		}
		for _, l := range a.Lanes {
			switch {
			case l.State != api.LaneRunning || l.Owner == "":
				return fmt.Sprintf("%s/%d is %s at %q: %s", a.App, l.Lane, l.State, l.Owner, l.Reason)
			case l.From != "" || l.Target != "":
				return fmt.Sprintf("%s/%d moves from %q to %q", a.App, l.Lane, l.From, l.Target)
			case alive > 1 && len(l.Copies) != 1:
				return fmt.Sprintf("%s/%d has %d copies", a.App, l.Lane, len(l.Copies))
			}
			for _, c := range l.Copies {
				if !c.Ready || c.Node == l.Owner {
					return fmt.Sprintf("the copy of %s/%d at %s is %s", a.App, l.Lane, c.Node, c.State)
				}
			}
		}
	}
	return ""
}

// notOne: of the nodes' own words, exactly one says of each lane that it runs it.
func (f *fleet) notOne() string {
	runs := map[string][]string{}
	for name, p := range f.up {
		st, err := localStatus(f.ctx, p)
		if err != nil {
			return err.Error()
		}
		for _, a := range st.Apps {
			for _, l := range a.Lanes {
				if l.Role != api.RoleStandby && l.State == api.LaneRunning {
					lane := fmt.Sprintf("%s/%d", a.App, l.Lane)
					runs[lane] = append(runs[lane], name)
				}
			}
		}
	}
	if len(runs) != len(f.jobs)*partitions {
		return fmt.Sprintf("%d lanes run", len(runs))
	}
	for lane, at := range runs {
		if len(at) != 1 {
			return fmt.Sprintf("%s runs at %v", lane, at)
		}
	}
	return ""
}

// localStatus is what a node says of itself alone.
func localStatus(ctx context.Context, p *process) (st api.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.addr+"/v1/status?local=true", nil)
	if err != nil {
		return st, err
	}
	resp, err := p.m.guard.do(req)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	return st, json.NewDecoder(resp.Body).Decode(&st)
}

// kill ends nodes at once, as a power cut would, and forgets them.
func (f *fleet) kill(names ...string) {
	for _, name := range names {
		_ = f.up[name].cmd.Process.Kill()
	}
	for _, name := range names {
		<-f.up[name].done
		delete(f.up, name)
	}
}

// stop ends a node as an operator does.
func (f *fleet) stop(name string) {
	f.t.Helper()
	f.up[name].stop()
	delete(f.up, name)
}

// logs are the names of all logs, of all starts.
func (f *fleet) logs() []string {
	found, err := filepath.Glob(filepath.Join(f.jobs[0].dir, "?-*.log"))
	must(f.t, err)
	return found
}
