package lint

import (
	"fmt"
	"strings"
	"testing"
)

// doc is a documented file, so that a planted one shows only what it was planted for.
func doc(dir, name string) Source {
	return Source{dir + "/doc.go", []byte("// Package " + name + " is planted.\npackage " + name + "\n")}
}

// TestPlantedViolations shows each rule failing: a rule that finds nothing here has stopped
// working.
func TestPlantedViolations(t *testing.T) {
	long := strings.Repeat("x", 101)
	tests := []struct {
		name string
		path string
		text string
		want string // "" = nothing found
	}{
		{"state imports the processor", "state/a.go",
			`import _ "github.com/tally-kafka/tally/processor"`, "state may not import processor"},
		{"state imports Kafka's client", "state/a.go",
			`import _ "github.com/twmb/franz-go/pkg/kgo"`, "state may not import github.com/twmb/franz-go/pkg/kgo"},
		{"processor imports replication", "processor/a.go",
			`import _ "github.com/tally-kafka/tally/replication"`, "processor never imports replication"},
		{"replication imports processor in a test", "replication/a_test.go",
			`import _ "github.com/tally-kafka/tally/processor"`, "replication never imports processor"},
		{"cmd imports franz-go", "cmd/tally/a.go",
			`import _ "github.com/twmb/franz-go/pkg/kgo"`, "cmd/tally may not import"},
		{"cmd imports Pebble", "cmd/tally/a.go",
			`import _ "github.com/cockroachdb/pebble/v2"`, "cmd/tally may not import"},
		{"cmd imports state", "cmd/tally/a.go",
			`import _ "github.com/tally-kafka/tally/state"`, "cmd/tally may not import state"},
		{"audit imports state", "internal/audit/a.go",
			`import _ "github.com/tally-kafka/tally/state"`, "internal/audit never imports state"},
		{"api imports the node", "internal/api/a.go",
			`import _ "github.com/tally-kafka/tally/internal/node"`, "internal/api may not import internal/node"},
		{"spec imports the seam", "processor/spec/a.go",
			`import _ "github.com/tally-kafka/tally/internal/seam"`, "processor/spec may not import internal/seam"},
		{"the product imports testkafka", "txn/a.go",
			`import _ "github.com/tally-kafka/tally/internal/testkafka"`, "txn may not import internal/testkafka"},
		{"a test imports testkafka", "txn/a_test.go",
			`import _ "github.com/tally-kafka/tally/internal/testkafka"`, ""},
		{"a prefix is not a parent", "state/a.go",
			`import _ "github.com/cockroachdb/pebbleish"`, "state may not import"},
		{"a package of no row", "internal/util/a.go", "", `"internal/util" has no row`},
		{"an allowed import", "txn/a.go",
			`import _ "github.com/tally-kafka/tally/state"`, ""},

		{"the time", "state/a.go", `import "time"; var t = time.Now()`, "time.Now goes past the seam"},
		{"the time, as a value", "state/a.go", `import "time"; var now = time.Now`, "time.Now goes past the seam"},
		{"the time under another name", "state/a.go", `import clock "time"; var t = clock.Now()`, "time.Now goes past"},
		{"the time under no name", "state/a.go", `import . "time"; var t = Now()`, "under a name"},
		{"a timer", "txn/a.go", `import "time"; var c = time.After(1)`, "time.After goes past the seam"},
		{"a duration", "txn/a.go", `import "time"; const d = 3 * time.Second`, ""},
		{"chance", "txn/a.go", `import "math/rand/v2"; var n = rand.IntN(3)`, "math/rand/v2.IntN goes past the seam"},
		{"secrets", "txn/a.go", `import "crypto/rand"; var n = rand.Text()`, "crypto/rand.Text goes past the seam"},
		{"a dial", "internal/api/a.go", `import "net"; var d net.Dialer`, "net.Dialer goes past the seam"},
		{"the default client", "internal/api/a.go", `import "net/http"; var c = http.DefaultClient`, "DefaultClient goes past"},
		{"a listener", "internal/api/a.go", `import "net"; var f = net.Listen`, ""},
		{"the seam itself", "internal/seam/a.go", `import "time"; var t = time.Now()`, ""},
		{"the time in a test", "state/a_test.go", `import "time"; var t = time.Now()`, ""},
		{"a sleep in a test", "state/a_test.go", `import "time"; func f() { time.Sl` + `eep(1) }`, "does not sleep"},
		{"a listed exception", "internal/testkafka/a.go", `import "time"; var t = time.Now()`, ""},

		{"a long file", "state/a.go", strings.Repeat("\n", 500), "at most 500"},
		{"a long command", "cmd/tally/a.go", strings.Repeat("\n", 150), "at most 150"},
		{"a long test", "state/a_test.go", strings.Repeat("\n", 900), ""},
		{"a long comment", "state/a.go", "// " + long, "comment of 104 columns"},
		{"a long comment in a block", "state/a.go", "/*\n// " + long + "\n*/", "comment of 104 columns"},
		{"a tab counts", "state/a.go", "func f() {\n\t// " + long[:95] + "\n}", "comment of 102 columns"},
		{"a long address", "state/a.go", "// https://" + long, ""},
		{"work left undone", "state/a.go", "// TO" + "DO: later", "in an issue"},
		{"no package comment", "state/b/a.go", "", `"state/b" has no doc.go`},
		{"broken code", "state/a.go", "func {", "cannot be parsed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tt.path[:strings.LastIndex(tt.path, "/")]
			name := dir[strings.LastIndex(dir, "/")+1:]
			sources := []Source{{tt.path, []byte("package " + name + "\n" + tt.text + "\n")}}
			if tt.name != "no package comment" {
				sources = append(sources, doc(dir, name))
			}
			checkPlanted(t, Check(sources), tt.path, tt.want)
		})
	}
}

func checkPlanted(t *testing.T, found []Finding, path, want string) {
	t.Helper()
	var here []string
	for _, f := range found {
		if f.Path == path {
			here = append(here, f.Message)
		}
	}
	all := strings.Join(here, "\n")
	switch {
	case want == "" && all != "":
		t.Errorf("found %s, want nothing", all)
	case !strings.Contains(all, want):
		t.Errorf("found %q, want %q", all, want)
	}
}

// TestTables holds the tables to their own promises.
func TestTables(t *testing.T) {
	for dir, r := range arrows {
		for _, own := range append(append([]string{}, r.own...), forTests.own...) {
			if _, ok := arrows[own]; !ok {
				t.Errorf("%s may import %s, which has no row", dir, own)
			}
		}
	}
	for _, e := range exceptions {
		if e.why == "" || len(e.uses) == 0 {
			t.Errorf("the exception of %s needs its uses and a reason", e.path)
		}
	}
}

func ExampleFinding_String() {
	fmt.Println(Finding{"state/store.go", 12, "time.Now goes past the seam"})
	// Output: state/store.go:12: time.Now goes past the seam
}
