package main

import (
	"fmt"
	"slices"
	"strings"
)

// check is a general check: tests of one package that no mutant has been made for, or the other way
// round; or a command that builds a program and judges it.
type check struct {
	name string // as the table shows it
	pkg  string // below the module
	run  string // of go test; "": it is a command
	// seeded makes the run of a seed out of its arguments and environment.
	args func(seed int) []string
	env  func(seed int) []string
}

const module = "github.com/tally-kafka/tally"

func rapid(seed int) []string {
	return []string{fmt.Sprint("-rapid.seed=", seed), "-rapid.nofailfile", "-rapid.shrinktime=1s"}
}

func short(int) []string { return []string{"-test.short"} } // the real Kafka is left out

func none(int) []string { return nil }

// checks in the order in which a mutant meets those that its files can reach: the fast ones first.
var checks = []check{
	{"TestLaneCountsExactly", "processor", "^TestLaneCountsExactly$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=1000") // of which each takes milliseconds
	}, none},
	{"state: TestModel", "state", "^TestModel$", rapid, none},
	{"state: TestCrashWhile…", "state", "^TestCrashWhile(Publishing|Loading)$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=300") // a crash must hit a moment
	}, none},
	{"state: TestCheckpoint…", "state", "^TestCheckpoint(Crash)?$", none, none},
	{"seed: TestFetch…", "replication/seed", "^TestFetch", none, none},
	{"replication: TestCatchUp…", "replication", "^TestCatchUp(EndsAtTheBarrier|OfFourPartitions|GoesOn)$", short, none},
	{"ownership: TestAnyLog", "replication/ownership", "^TestAnyLog$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=1000")
	}, none},
	{"assign: TestAnyHistory", "replication/assign", "^TestAnyHistory$", func(seed int) []string {
		return append(rapid(seed), "-rapid.checks=5000")
	}, none},
	{"sim: TestSchedules", "replication/sim", "^TestSchedules$", none, func(seed int) []string {
		return []string{fmt.Sprint("SIM_SEED=", 10_000*seed), "SIM_SCHEDULES=400"}
	}},
	{"lead: TestSchedules", "replication/lead", "^TestSchedules$", none, func(seed int) []string {
		return []string{fmt.Sprintf("SCHEDULES=%d+300", 10_000*seed)}
	}},
	{"TestNodeCountsExactly", "internal/node", "^TestNodeCountsExactly$", none,
		func(seed int) []string { return []string{fmt.Sprint("PROPERTY_SEED=", seed)} }},
	{"TestBandCountsExactly", "internal/node", "^TestBandCountsExactly$", none,
		func(seed int) []string { return []string{fmt.Sprint("PROPERTY_SEED=", seed)} }},
	{"TestSim", "internal/node", "^TestSim$", none, func(seed int) []string { // each kind of trial once
		return []string{fmt.Sprint("SIM_SEED=", 3*seed), "SIM_SEEDS=3"}
	}},
	{"TestTakenBefore…", "internal/node", "^TestTakenBeforeTheFence$", none, none},
	chaos,
}

// chosen are the checks of these names, separated by commas; of none, all that can run here. What
// else there is, is left out.
func chosen(names string, kafka bool) (some []check, left []string, err error) {
	wanted := strings.Split(names, ",")
	for _, c := range checks {
		i := slices.Index(wanted, c.name)
		switch {
		case i >= 0:
			some, wanted = append(some, c), slices.Delete(wanted, i, i+1)
		case names != "" || c.isCommand() && !kafka:
			left = append(left, c.name)
		default:
			some = append(some, c)
		}
	}
	if names != "" && len(wanted) > 0 {
		return nil, nil, fmt.Errorf("no checks of the names %q", wanted)
	}
	return some, left, nil
}
