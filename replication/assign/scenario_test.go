package assign

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/tally-kafka/tally/replication/ownership"
)

// Each file of testdata/scenarios is a story of one cluster. Run with -rewrite to write the answers
// anew, and read the difference.
//
//	start ID...        nodes start (zone=, capacity=)
//	app NAME           lanes=, standbys=
//	decide             one decision with what the nodes have reported
//	catch-up           every node does what the state says, and reports it
//	settle             both, until there is nothing more to decide
//	kill ID            a process ends, and the leader has seen it
//	silent ID          a node has not reported to this leader
//	report ID          it has, and all others too
//	kafka ID           a node last reached Kafka age= ago
//	disk ID            a node's disk fails (why=), or is well again
//	copy APP/LANE ID   a standby's copy: lag=, or loading; of one that runs it: running, epoch=
//	stuck APP/LANE ID  a node comes no further with a lane, nor does another that gets it; epoch=
//	                   of another grant than the state's
//	fenced APP/LANE    the leader's fence has ended
//	drain, undrain, move, keep, halt, pause, problems, lanes, loads, dry-run
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			return w.obey(t, d)
		})
	})
}

func (w *world) obey(t *testing.T, d *datadriven.TestData) string {
	plain, arg := arguments(d)
	switch d.Cmd {
	case "start":
		for _, id := range plain {
			capacity, _ := strconv.Atoi(arg["capacity"])
			w.start(ownership.Member{ID: id, Zone: arg["zone"], Capacity: capacity})
		}
	case "app":
		lanes, _ := strconv.Atoi(arg["lanes"])
		standbys, _ := strconv.Atoi(arg["standbys"])
		w.app(plain[0], lanes, standbys)
	case "decide":
		before := w.s
		return w.show(w.decide(), before)
	case "catch-up":
		w.catchUp()
	case "settle":
		return fmt.Sprintf("%d plans\n%s", len(w.settle()), w.describe())
	case "lanes":
		return w.describe()
	case "loads":
		return w.describeLoads()
	case "problems":
		return describeProblems(Decide(w.input()))
	case "dry-run":
		return w.dryRun(plain)
	case "pause", "resume":
		w.paused = d.Cmd == "pause"
	default:
		return w.obeyNode(t, d, plain, arg)
	}
	return ""
}

func (w *world) obeyNode(t *testing.T, d *datadriven.TestData, plain []string, arg map[string]string) string {
	switch d.Cmd {
	case "kill":
		w.kill(plain[0])
	case "silent":
		w.health[plain[0]] = Health{}
	case "report":
		w.health[plain[0]] = Health{Live: true, Incarnation: w.s.Members[plain[0]].Incarnation}
		w.catchUp()
	case "kafka":
		age, err := time.ParseDuration(arg["age"])
		if err != nil {
			t.Fatal(err)
		}
		w.setKafkaAge(plain[0], age)
	case "behind":
		d, err := time.ParseDuration(arg["for"])
		if err != nil {
			t.Fatal(err)
		}
		w.setBehind(plain[0], d)
	case "disk":
		w.setDisk(plain[0], arg["why"])
	case "copy":
		lag, _ := strconv.Atoi(arg["lag"])
		runs := slices.Contains(plain, "running")
		epoch, _ := strconv.ParseUint(arg["epoch"], 10, 64)
		w.setCopy(plain[1], reference(plain[0]), Copy{
			Ready: !runs && !slices.Contains(plain, "loading"), Running: runs, Lag: int64(lag), Epoch: epoch,
		})
	case "stuck":
		epoch, _ := strconv.ParseUint(arg["epoch"], 10, 64)
		w.stick(plain[1], reference(plain[0]), epoch)
	case "fenced":
		w.fence([]ownership.LaneRef{reference(plain[0])})
	case "drain", "undrain":
		return w.take(ownership.Command{Drain: &ownership.Drain{ID: plain[0], Draining: d.Cmd == "drain"}})
	case "move":
		target := ""
		if len(plain) > 1 {
			target = plain[1]
		}
		return w.take(ownership.Command{MoveLane: &ownership.MoveLane{LaneRef: reference(plain[0]), Target: target}})
	case "keep":
		return w.take(Keep(w.s, reference(plain[0])))
	case "halt":
		return w.take(ownership.Command{HaltApp: &ownership.HaltApp{Name: plain[0], Halted: arg["why"]}})
	default:
		t.Fatalf("%s: no command %s", d.Pos, d.Cmd)
	}
	return ""
}

func describeProblems(d Decision) string {
	lines := slices.Clone(d.Problems)
	for _, ref := range slices.SortedFunc(maps.Keys(d.Ownerless), ownership.LaneRef.Compare) {
		lines = append(lines, fmt.Sprintf("%s has no owner: %s", ref, d.Ownerless[ref]))
	}
	return strings.Join(append(lines, ""), "\n")
}

func (w *world) dryRun(plain []string) string {
	var f Foreseen
	if plain[0] == "drain" {
		f = DryRunDrain(w.input(), plain[1])
	} else {
		f = DryRunMove(w.input(), reference(plain[1]), plain[2])
	}
	if f.Refused != "" {
		return f.Refused + "\n"
	}
	return strings.Join(append(f.Lines, ""), "\n")
}

func (w *world) describeLoads() string {
	owned, standbys := w.loads()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(w.s.Members)) {
		fmt.Fprintf(&b, "%s owns %d, stands by for %d\n", id, owned[id], standbys[id])
	}
	return b.String()
}

func arguments(d *datadriven.TestData) (plain []string, arg map[string]string) {
	arg = map[string]string{}
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			plain = append(plain, a.Key)
		} else {
			arg[a.Key] = a.Vals[0]
		}
	}
	return plain, arg
}

func reference(text string) ownership.LaneRef {
	app, lane, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(lane)
	if err != nil {
		panic(err)
	}
	return ownership.LaneRef{App: app, Lane: n}
}
