package ownership

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// Each file of testdata/scripts is a log, an entry a command, with what each comes to. Run with
// -rewrite to write the answers anew, and read the difference.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := New()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "state" {
				return describe(s)
			}
			next, result, err := s.Apply(Encode(scriptCommand(t, d)))
			if err != nil {
				t.Fatal(err)
			}
			if result.Refused != "" && next != s {
				t.Fatal("a refused command has changed the state")
			}
			unchanged := next == s
			s = next
			switch {
			case result.Refused != "":
				return fmt.Sprintf("%s: %s\n", result.Code, result.Refused)
			case unchanged:
				return "nothing new\n"
			}
			return fmt.Sprintf("version %d\n", result.Version)
		})
	})
}

// scriptCommand reads a command of a script. Arguments are key=value.
func scriptCommand(t *testing.T, d *datadriven.TestData) Command {
	arg := map[string]string{}
	var plain []string
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			plain = append(plain, a.Key)
			continue
		}
		arg[a.Key] = strings.Join(a.Vals, ",")
	}
	first := ""
	if len(plain) > 0 {
		first = plain[0]
	}
	number := func(key string, otherwise int) int {
		if arg[key] == "" {
			return otherwise
		}
		n, err := strconv.Atoi(arg[key])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch d.Cmd {
	case "found":
		return Command{Found: &Found{ClusterID: first}}
	case "register":
		inc, name := first+"1", first
		if arg["inc"] != "" {
			inc = arg["inc"]
		}
		if arg["name"] != "" {
			name = arg["name"]
		}
		return Command{Register: &Register{Member{
			ID: first, Name: name, Incarnation: inc, Addr: first + ":7400", Zone: arg["zone"],
			Release: "1.0", Format: number("format", 1), Capacity: number("capacity", 1),
		}}}
	case "forget":
		return Command{Forget: &Forget{first}}
	case "drain", "undrain":
		return Command{Drain: &Drain{ID: first, Draining: d.Cmd == "drain"}}
	case "put":
		app := App{
			Name: first, Spec: "app: " + first, ID: "id-" + first, Generation: number("generation", 1),
			Partitions: 8, Standbys: number("standbys", 1), Halted: arg["halted"],
			Lanes: make([]Lane, number("lanes", 2)),
		}
		for i := range app.Lanes {
			app.Lanes[i].Epoch = uint64(number("epoch", 0))
		}
		return Command{PutApp: &PutApp{App: app, Expect: number("expect", 0)}}
	case "drop":
		return Command{DropApp: &DropApp{first}}
	case "halt":
		return Command{HaltApp: &HaltApp{Name: first, Halted: arg["why"], Intent: json.RawMessage(`{"a":1}`)}}
	case "raise":
		return Command{RaiseEpoch: &RaiseEpoch{LaneRef: scriptRef(t, first), Floor: uint64(number("floor", 0))}}
	case "move":
		return Command{MoveLane: &MoveLane{LaneRef: scriptRef(t, first), Target: arg["to"]}}
	case "plan":
		return Command{Plan: scriptPlan(t, uint64(number("base", 0)), arg["dead"], d.Input)}
	}
	t.Fatalf("%s: no command %s", d.Pos, d.Cmd)
	return Command{}
}

func scriptRef(t *testing.T, text string) LaneRef {
	app, lane, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(lane)
	if err != nil {
		t.Fatal(err)
	}
	return LaneRef{App: app, Lane: n}
}

// scriptPlan reads lines like "wordcount/0 owner=a/a1 standbys=b,c from=b target=c unfenced".
func scriptPlan(t *testing.T, base uint64, dead, input string) *Plan {
	p := &Plan{Base: base}
	if id, inc, ok := strings.Cut(dead, "/"); ok {
		p.Dead = []Death{{ID: id, Incarnation: inc}}
	}
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		c := LaneChange{LaneRef: scriptRef(t, words[0])}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "owner":
				c.To.Owner, c.To.Incarnation, _ = strings.Cut(value, "/")
			case "standbys":
				c.To.Standbys = strings.Split(value, ",")
			case "from":
				c.To.From = value
			case "target":
				c.To.Target = value
			case "unfenced":
				c.To.Unfenced = true
			default:
				t.Fatalf("no %s of a lane", key)
			}
		}
		p.Lanes = append(p.Lanes, c)
	}
	return p
}

// describe shows a state, a line a member and a lane.
func describe(s *State) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %q version %d\n", s.ClusterID, s.Version)
	for _, m := range s.SortedMembers() {
		fmt.Fprintf(&b, "%s (%s) %s", m.Name, m.Incarnation, aliveWord(m))
		if m.Draining {
			b.WriteString(", draining")
		}
		b.WriteString("\n")
	}
	for _, a := range s.SortedApps() {
		fmt.Fprintf(&b, "app %s generation %d", a.Name, a.Generation)
		if a.Halted != "" {
			fmt.Fprintf(&b, " halted: %s", a.Halted)
		}
		b.WriteString("\n")
		for i, l := range a.Lanes {
			fmt.Fprintf(&b, "  %d: %s\n", i, describeLane(l))
		}
	}
	return b.String()
}

func describeLane(l Lane) string {
	words := []string{"nobody"}
	if l.Owner != "" {
		words[0] = l.Owner + "/" + l.Incarnation
	}
	words = append(words, fmt.Sprint("epoch ", l.Epoch))
	if len(l.Standbys) > 0 {
		words = append(words, "standbys "+strings.Join(l.Standbys, ","))
	}
	for _, part := range []struct{ word, value string }{{"from", l.From}, {"target", l.Target}, {"wanted", l.Wanted}} {
		if part.value != "" {
			words = append(words, part.word+" "+part.value)
		}
	}
	if l.Unfenced {
		words = append(words, "unfenced")
	}
	return strings.Join(words, " ")
}
