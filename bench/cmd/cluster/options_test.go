package main

import (
	"slices"
	"strings"
	"testing"
)

func TestWhatIsUnknownIsRefused(t *testing.T) {
	for flag, words := range map[string][]string{
		"--faults=owner kiled": {`no fault "owner kiled"`, "owner killed"},
		"--peers=spark":        {`no peer "spark"`, "kafka-streams"},
		"--parts=gap":          {`no part "gap"`, "gaps"},
	} {
		_, err := parse([]string{flag})
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v", flag, err)
			}
		}
	}
}

func TestFaultsChooseTheirParts(t *testing.T) {
	for faults, want := range map[string]string{
		"": strings.Join(allParts, ","), "owner killed": "gaps,streams", "move,drain": "gaps",
		"owner cut off (from all and from Kafka for 10 s)":                                                    "cut",
		"owner and leader cut off (from all and from Kafka for 10 s),owner and leader stopped (SIGSTOP 10 s)": "gaps,cut",
		"all killed and started again":                                                                        "gaps,groups",
	} {
		o, err := parse([]string{"--faults=" + faults})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(slices.Clone(allParts), func(p string) bool { return !o.wants(p) })
		if g := strings.Join(got, ","); g != want {
			t.Errorf("%q chooses %s, not %s", faults, g, want)
		}
	}
}
