package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/bench/failover"
	"github.com/tally-kafka/tally/bench/peers"
)

// The parts of the page, in its order.
var allParts = []string{"gaps", "cut", "groups", "streams", "starts", "standby", "reads", "copy", "rest", "plan"}

type options struct {
	tries  int
	rate   int
	groups int
	faults string
	peers  string
	parts  string
	cache  string
	out    string
}

var fromEnv = []string{"tries", "rate", "groups", "faults", "peers", "parts", "page"}

func parse(args []string) (options, error) {
	var o options
	fl := flag.NewFlagSet("cluster", flag.ContinueOnError)
	fl.IntVar(&o.tries, "tries", 20, "of each fault, at tally; 2 at Kafka Streams")
	fl.IntVar(&o.rate, "rate", 1000, "events a second around faults")
	fl.IntVar(&o.groups, "groups", 5_000_000, "that are there before, in the parts groups and copy")
	fl.StringVar(&o.faults, "faults", "", "to be tried, separated by commas; default: all")
	fl.StringVar(&o.peers, "peers", "", "tally, kafka-streams; default: both")
	fl.StringVar(&o.parts, "parts", "", "of the page, of "+strings.Join(allParts, ",")+"; default: all")
	fl.StringVar(&o.cache, "cache", ".cache/peers", "where Kafka Streams is installed")
	fl.StringVar(&o.out, "page", "", "where it is written; default: docs/cluster-performance.md where nothing is chosen, else .cache/cluster-performance.md")
	for _, name := range fromEnv {
		if v := os.Getenv(strings.ToUpper(name)); v != "" {
			if err := fl.Set(name, v); err != nil {
				return o, fmt.Errorf("%s=%s: %w", strings.ToUpper(name), v, err)
			}
		}
	}
	if err := fl.Parse(args); err != nil {
		return o, err
	}
	if o.tries < 1 || o.rate < 1 || o.groups < 1 {
		return o, fmt.Errorf("--tries, --rate and --groups are at least 1")
	}
	for _, p := range split(o.parts) {
		if !slices.Contains(allParts, p) {
			return o, fmt.Errorf("there is no part %q: say some of %s", p, strings.Join(allParts, ","))
		}
	}
	for _, f := range split(o.faults) {
		if !slices.Contains(failover.AllFaults, f) {
			return o, fmt.Errorf("there is no fault %q: say some of %s", f, strings.Join(failover.AllFaults, ", "))
		}
	}
	for _, p := range split(o.peers) {
		if !peers.Chosen(p, "tally") && !peers.Chosen(p, "kafka-streams") {
			return o, fmt.Errorf("there is no peer %q: say tally, kafka-streams or both", p)
		}
	}
	if o.out == "" {
		o.out = filepath.Join(".cache", "cluster-performance.md")
		if o.whole() {
			o.out = filepath.Join("docs", "cluster-performance.md")
		}
	}
	return o, nil
}

// whole: nothing is chosen, so the page is what the project says of itself.
func (o options) whole() bool {
	return o.tries == 20 && o.rate == 1000 && o.groups == 5_000_000 && o.faults == "" && o.peers == "" && o.parts == ""
}

// with names what is not as it is by default.
func (o options) with() (text string) {
	if o.tries != 20 {
		text += fmt.Sprintf(", TRIES=%d", o.tries)
	}
	if o.rate != 1000 {
		text += fmt.Sprintf(", RATE=%d", o.rate)
	}
	if o.groups != 5_000_000 {
		text += fmt.Sprintf(", GROUPS=%d", o.groups)
	}
	if o.faults != "" {
		text += fmt.Sprintf(", FAULTS=%q", o.faults)
	}
	return text
}

// wants reports whether a part is chosen. Faults choose those that have them.
func (o options) wants(part string) bool {
	if o.parts != "" {
		return slices.Contains(split(o.parts), part)
	}
	if o.faults == "" {
		return true
	}
	var faults []string
	switch part {
	case "gaps":
		faults = (&failover.Tally{}).Faults()
	case "cut":
		faults = failover.Cuts
	case "groups":
		faults = []string{failover.KillAll}
	case "streams":
		faults = (&failover.Streams{}).Faults()
	}
	return len(o.chosen(faults)) > 0
}

// chosen are those of some faults that were asked for, or all where none was named.
func (o options) chosen(faults []string) (chosen []string) {
	for _, f := range faults {
		if o.faults == "" || slices.Contains(split(o.faults), f) {
			chosen = append(chosen, f)
		}
	}
	return chosen
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
