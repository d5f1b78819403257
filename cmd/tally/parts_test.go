package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
)

// The age of what may be old is told, also that it is not known.
func TestAgeOfParts(t *testing.T) {
	now := time.UnixMilli(1_795_393_111_000)
	sm := seam.World()
	sm.Now = func() time.Time { return now }
	for _, c := range []struct {
		part api.Part
		say  string
	}{
		{api.Part{Node: "a", Role: api.RoleUnsure, AsOfMs: now.UnixMilli() - 80}, "lane 0: node a is unsure, its values are as of 80 ms ago\n"},
		{api.Part{Node: "a", Role: api.RoleUnsure}, "lane 0: node a is unsure, its values are of an unknown age\n"},
		{api.Part{Node: "a", Role: api.RoleStandby, AsOfMs: now.UnixMilli(), Position: map[string]int64{"t/0": 4}}, "as of 0 ms ago, up to t/0"},
		{api.Part{Node: "a", Role: api.RoleOwner}, ""},
	} {
		var err bytes.Buffer
		(&tool{err: &err, seam: sm}).noteParts([]api.Part{c.part})
		if !strings.Contains(err.String(), c.say) || c.say == "" && err.Len() > 0 {
			t.Errorf("%+v: %q, not %q", c.part, err.String(), c.say)
		}
	}
}
