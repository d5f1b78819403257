package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what a fault does.
type Kind string

// The kinds of faults. For is how long a fault lasts, and Param what it needs beside its target.
const (
	Kill    Kind = "kill"    // SIGKILL; the node starts again after For
	Power   Kind = "power"   // as kill, and the stores lose what was not synced
	Stop    Kind = "stop"    // SIGSTOP, and SIGCONT after For
	Restart Kind = "restart" // SIGTERM, and a start when it has ended
	Roll    Kind = "roll"    // that of every node in turn
	Cut     Kind = "cut"     // connections closed and refused; Param: peers, kafka, all
	Freeze  Kind = "freeze"  // nothing passes, connections stay; Param as of Cut
	OneWay  Kind = "one-way" // what it sends is lost, or what it gets; Param: to or from, and whom
	Slow    Kind = "slow"    // delay and few bytes a second; Param as of Cut
	Lossy   Kind = "lossy"   // stalls, and resets in mid-answer; Param as of Cut
	Drop    Kind = "drop"    // answers to a kind of Kafka's requests are lost; Param: the kind
	Disk    Kind = "disk"    // files may not grow
	Stall   Kind = "stall"   // one of the node's goroutines is held at Step for For
	Fsync   Kind = "fsync"   // no sync of the node's stores ends
	Clock   Kind = "clock"   // the node's clock is off; Param: the seconds
	Wipe    Kind = "wipe"    // killed, and comes back without its store; Param: state or all
	Flip    Kind = "flip"    // killed, and comes back with flipped bits in its store
	Join    Kind = "join"    // a further node, which leaves after For
	Drain   Kind = "drain"   // the node gives its lanes away, and may have some again after For
	Move    Kind = "move"    // a lane goes to the target
	Submit  Kind = "submit"  // a further app, which is deleted after For

	BrokerKill     Kind = "broker-kill" // SIGKILL; it starts after For, once fenced; Param: "" or at-once
	BrokerStop     Kind = "broker-stop" // SIGSTOP; it goes on after For, and others lead by then
	BrokerCut      Kind = "broker-cut"  // from the other brokers; Param: one of BrokerCuts
	ControllerKill Kind = "controller-kill"
	Compact        Kind = "compact" // Kafka compacts the changelogs at once, for For
)

// AtOnce starts a killed broker again before the others have fenced it.
const AtOnce = "at-once"

// BrokerCuts are the ways of a BrokerCut: connections closed and refused, nothing passes, what the
// broker sends to the others is lost, and what they send to it is.
var BrokerCuts = []string{"cut", "freeze", "to", "from"}

// OfBrokers are the kinds that take a broker away: one at a time.
var OfBrokers = []Kind{BrokerKill, BrokerStop, BrokerCut, ControllerKill}

// OfNodes are the kinds that happen to a node at one moment, at a step that can be known: the
// columns of the table of cells.
var OfNodes = []Kind{Kill, Power, Stop, Cut, Freeze, OneWay, Slow, Lossy, Disk, Stall, Fsync, Clock}

// Counted are the kinds of network, disk and clock, which hit nothing by themselves: a cut between
// two who say nothing is none; BrokerStop, during which others shall lead what the broker has led;
// Submit, of an app whose counts are audited before it goes; and Compact, which shall take records
// away. Each is seen to hit something, or has proved nothing.
var Counted = []Kind{Cut, Freeze, OneWay, Slow, Lossy, Drop, Disk, Fsync, Clock, BrokerCut, BrokerStop, Submit, Compact}

// Fault is one fault.
type Fault struct {
	ID     int           // its own, from 1: what it draws when it comes is by this, and the same in a shorter schedule
	At     time.Duration // since the beginning
	Kind   Kind
	Target string        // a role
	For    time.Duration // 0: it has no length
	Step   string        // at which it comes; "": at At
	Param  string
}

func (f Fault) String() string {
	var b strings.Builder
	if f.ID > 0 {
		fmt.Fprintf(&b, "id=%d ", f.ID)
	}
	fmt.Fprintf(&b, "at=%v kind=%s target=%q", f.At, f.Kind, f.Target)
	if f.For > 0 {
		fmt.Fprintf(&b, " for=%v", f.For)
	}
	if f.Step != "" {
		fmt.Fprintf(&b, " step=%s", f.Step)
	}
	if f.Param != "" {
		fmt.Fprintf(&b, " param=%q", f.Param)
	}
	return b.String()
}

// Schedule is a run's faults, in order of their time.
type Schedule struct {
	Seed   uint64
	Length time.Duration // of the whole run, with its quiet end
	Load   Load
	Faults []Fault
}

// Load is the rest of what a run was asked for, without which it is another one.
type Load struct {
	Rate  int  // events a second of each app; 0: as many as there are usually
	Keys  int  // groups of the app that sums by key; 0: as many as there are usually
	Even  bool // the schedule was drawn with Options.Even
	Press bool // at the highest rate of the machine
	Dealt bool // the steps are those of a run, at which the faults come as they are
}

func (l Load) String() string {
	var b strings.Builder
	if l.Rate > 0 {
		fmt.Fprintf(&b, " rate=%d", l.Rate)
	}
	if l.Keys > 0 {
		fmt.Fprintf(&b, " keys=%d", l.Keys)
	}
	if l.Even {
		b.WriteString(" even=true")
	}
	if l.Press {
		b.WriteString(" press=true")
	}
	if l.Dealt {
		b.WriteString(" dealt=true")
	}
	return b.String()
}

// String is the text that Parse reads.
func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed=%d length=%v%v\n", s.Seed, s.Length, s.Load)
	for _, f := range s.Faults {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// Parse reads a schedule. Empty lines, and what follows a # at the beginning of a line, are left
// out.
func Parse(text string) (s Schedule, err error) {
	headed := false
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields, err := fieldsOf(line)
		if err == nil && !headed {
			headed = true
			err = s.head(fields)
		} else if err == nil {
			err = s.add(fields)
		}
		if err != nil {
			return s, fmt.Errorf("schedule, line %d: %w", n+1, err)
		}
	}
	if !headed {
		return s, fmt.Errorf("schedule: no line seed=N length=D")
	}
	slices.SortStableFunc(s.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	return s, nil
}

func (s *Schedule) head(fields map[string]string) (err error) {
	if s.Seed, err = strconv.ParseUint(fields["seed"], 10, 64); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if s.Length, err = time.ParseDuration(fields["length"]); err != nil {
		return fmt.Errorf("length: %w", err)
	}
	return s.Load.parse(fields)
}

func (l *Load) parse(fields map[string]string) (err error) {
	for name, to := range map[string]*int{"rate": &l.Rate, "keys": &l.Keys} {
		if text := fields[name]; text != "" {
			if *to, err = strconv.Atoi(text); err != nil || *to < 1 {
				return fmt.Errorf("%s: %q is no number above 0", name, text)
			}
		}
	}
	for name, to := range map[string]*bool{"even": &l.Even, "press": &l.Press, "dealt": &l.Dealt} {
		if text := fields[name]; text != "" {
			if *to, err = strconv.ParseBool(text); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (s *Schedule) add(fields map[string]string) (err error) {
	f := Fault{Kind: Kind(fields["kind"]), Target: fields["target"], Step: fields["step"], Param: fields["param"]}
	if !slices.ContainsFunc(deck, func(c card) bool { return c.kind == f.Kind }) {
		return fmt.Errorf("there is no kind %q", f.Kind)
	}
	if f.ID, err = s.id(fields["id"]); err != nil {
		return err
	}
	if f.At, err = time.ParseDuration(fields["at"]); err != nil {
		return fmt.Errorf("at: %w", err)
	}
	if text := fields["for"]; text != "" {
		if f.For, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("for: %w", err)
		}
	}
	s.Faults = append(s.Faults, f)
	return nil
}

// id is that of a line, or where it says none the first that is free.
func (s *Schedule) id(text string) (id int, err error) {
	taken := func(id int) bool { return slices.ContainsFunc(s.Faults, func(f Fault) bool { return f.ID == id }) }
	if text != "" {
		if id, err = strconv.Atoi(text); err != nil || id < 1 || taken(id) {
			return 0, fmt.Errorf("id: %q is no number above 0 of its own", text)
		}
		return id, nil
	}
	for id = len(s.Faults) + 1; taken(id); id++ {
	}
	return id, nil
}

// fieldsOf takes name=value apart, where a value may be quoted.
func fieldsOf(line string) (map[string]string, error) {
	fields := map[string]string{}
	for line != "" {
		name, rest, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not name=value", line)
		}
		value := rest
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			rest = rest[len(quoted):]
			if value, err = strconv.Unquote(quoted); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		} else {
			value, rest, _ = strings.Cut(rest, " ")
		}
		fields[strings.TrimSpace(name)] = value
		line = strings.TrimSpace(rest)
	}
	return fields, nil
}
