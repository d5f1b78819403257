package lint

import (
	"fmt"
	"slices"
	"strings"
)

// A row says what the code of one package may import, besides the standard library.
type row struct {
	own     []string // the project's packages
	outside []string // other modules, by the beginning of their import path
	tests   []string // the project's packages that only this package's tests may import
}

const (
	franz      = "github.com/twmb/franz-go"
	pebble     = "github.com/cockroachdb/pebble"
	xxhash     = "github.com/cespare/xxhash"
	yaml       = "github.com/goccy/go-yaml"
	gjson      = "github.com/tidwall/gjson"
	prometheus = "github.com/prometheus"
	cobra      = "github.com/spf13"
	mpb        = "github.com/vbauerster/mpb"
	golangX    = "golang.org/x"
	hdr        = "github.com/HdrHistogram/hdrhistogram-go"
	charts     = "github.com/go-analyze/charts"
	hashicorp  = "github.com/hashicorp"
	bbolt      = "go.etcd.io/bbolt"
)

// arrows is the picture of the packages: an import that is not here is a finding, and so is a
// package that is not here. processor and replication never meet but in internal/node; audit reads
// none of the counting code, since it is there to judge it; cmd/tally knows neither Kafka's client
// nor Pebble.
var arrows = map[string]row{
	"cmd/tally": {
		own: []string{
			"internal/api", "internal/audit", "internal/broker", "internal/certs", "internal/dead", "internal/demo",
			"internal/doctor", "internal/failpoint", "internal/kafka", "internal/node", "internal/port", "internal/seam",
			"internal/step", "internal/token", "processor/spec",
		},
		outside: []string{cobra, yaml, golangX},
	},
	"internal/node": {
		own: []string{
			"internal/api", "internal/broker", "internal/kafka", "internal/livefile", "internal/port", "internal/seam",
			"internal/step", "internal/token", "processor", "processor/spec", "replication",
			"replication/assign", "replication/cluster", "replication/consensus", "replication/ownership", "replication/seed", "replication/session",
			"state", "txn",
		},
		outside: []string{franz, prometheus, mpb, golangX},
		// The first two read what the processor writes; the last makes a node's certificates.
		tests: []string{"internal/audit", "internal/dead", "internal/certs"},
	},
	"processor": {
		own:     []string{"internal/seam", "internal/step", "processor/spec", "state", "txn"},
		outside: []string{franz, xxhash},
	},
	"processor/spec": {outside: []string{yaml, gjson, "golang.org/x/text"}},
	"txn": {
		own:     []string{"internal/kafka", "internal/seam", "internal/step", "state"},
		outside: []string{franz},
	},
	"state": {
		own:     []string{"internal/keysort", "internal/seam", "internal/step"},
		outside: []string{pebble, xxhash, golangX},
	},
	"replication": {
		own:     []string{"internal/kafka", "internal/seam", "internal/step", "state"},
		outside: []string{franz, golangX},
		tests:   []string{"txn"}, // what a playback reads is what txn writes
	},
	"replication/cluster": {own: []string{
		"internal/seam", "replication/assign", "replication/consensus", "replication/lead", "replication/ownership",
		"replication/session",
	}},
	"replication/consensus": {
		own:     []string{"internal/seam", "replication/ownership"},
		outside: []string{hashicorp, bbolt},
	},
	// Pure: the same answers on every node, whatever its clock or its settings.
	"replication/ownership": {},
	"replication/assign":    {own: []string{"replication/ownership"}},
	"replication/seed":      {own: []string{"internal/seam"}, outside: []string{xxhash}},
	"replication/session":   {own: []string{"internal/seam", "replication/ownership"}},
	"replication/sim":       {own: []string{"replication/assign", "replication/ownership"}}, // tests alone
	"replication/lead": {own: []string{
		"internal/seam", "replication/assign", "replication/ownership", "replication/session",
	}},
	"internal/api": {
		own:     []string{"internal/seam", "internal/seldom", "internal/token", "processor/spec", "state"},
		outside: []string{prometheus, golangX},
	},
	"internal/port":     {own: []string{"internal/certs", "internal/seam", "internal/seldom"}},
	"internal/certs":    {own: []string{"internal/livefile", "internal/seam"}},
	"internal/token":    {own: []string{"internal/livefile", "internal/seam"}},
	"internal/livefile": {own: []string{"internal/seam"}},
	"internal/seldom":   {own: []string{"internal/seam"}},
	"internal/kafka":    {own: []string{"internal/seam"}, outside: []string{franz, golangX}},
	"internal/broker":   {own: []string{"internal/kafka", "internal/seam"}, outside: []string{franz, golangX}},
	"internal/audit": {
		own:     []string{"internal/kafka", "internal/keysort", "internal/seam", "processor/spec"},
		outside: []string{franz, xxhash, mpb, golangX},
		tests:   []string{"internal/api", "internal/node"}, // a node to judge
	},
	"internal/doctor": {own: []string{"internal/api", "internal/kafka", "internal/seam", "processor/spec"}},
	"internal/dead":   {own: []string{"internal/kafka", "processor/spec"}},
	"internal/demo":   {own: []string{"internal/api", "internal/kafka", "internal/seam", "processor/spec"}, outside: []string{franz}},
	"bench": {
		own:     []string{"bench/measure", "internal/api", "internal/kafka", "internal/seam"},
		outside: []string{franz, golangX},
	},
	"bench/cmd/peers": {own: []string{
		"bench", "bench/peers", "bench/report", "bench/trial", "internal/kafka", "internal/seam", "internal/testkafka",
	}},
	"bench/cmd/cluster": {own: []string{
		"bench", "bench/failover", "bench/peers", "bench/report", "internal/chaos/link", "internal/kafka", "internal/seam", "internal/testkafka",
	}},
	"bench/failover": {
		own: []string{
			"bench", "bench/measure", "bench/peers", "internal/api", "internal/chaos/link", "internal/kafka", "internal/seam",
			"internal/testkafka",
		},
		outside: []string{franz, golangX},
	},
	"bench/peers":  {own: []string{"bench", "internal/api", "internal/kafka", "internal/seam"}},
	"bench/report": {own: []string{"bench/trial"}, outside: []string{charts}},
	"bench/trial": {
		own: []string{
			"bench", "bench/measure", "bench/peers", "internal/api", "internal/kafka", "internal/seam",
		},
		outside: []string{franz, golangX, hdr},
	},
	"bench/measure":                    {own: []string{"internal/seam"}, outside: []string{franz, hdr}},
	"internal/testkafka":               {outside: []string{franz}},
	"internal/testkafka/cmd/testkafka": {own: []string{"internal/testkafka"}},
	// Tests alone: they kill the binary, look into what it left, and recount.
	"internal/chaos": {own: []string{"internal/api", "internal/chaos/check", "internal/chaos/history", "internal/chaos/link", "internal/chaos/opened", "state", "txn"}},
	// The run of faults that anyone can repeat: it starts the product, and knows its API.
	"internal/chaos/history": {}, // what a run writes down, and nothing of the product
	"internal/chaos/link":    {own: []string{"internal/seam"}, outside: []string{golangX}},
	"internal/chaos/plan":    {own: []string{"internal/step"}},
	"internal/chaos/world": {
		own: []string{
			"internal/api", "internal/chaos/history", "internal/chaos/link", "internal/chaos/plan", "internal/failpoint",
			"internal/kafka", "internal/seam", "internal/step", "internal/testkafka",
		},
		outside: []string{franz, golangX},
	},
	// Nothing of the product, which it judges.
	"internal/chaos/check": {
		own: []string{"internal/chaos/history"}, outside: []string{franz, xxhash, "github.com/anishathalye/porcupine"},
	},
	"internal/chaos/opened": {own: []string{
		"internal/chaos/check", "internal/chaos/history", "internal/kafka", "internal/seam", "processor/spec", "state",
	}},
	"internal/chaos/cmd/chaos": {own: []string{
		"internal/chaos/check", "internal/chaos/history", "internal/chaos/opened", "internal/chaos/plan", "internal/chaos/world",
		"internal/seam",
	}},
	"internal/failpoint":     {own: []string{"internal/step"}, outside: []string{pebble}},
	"internal/keysort":       {},
	"internal/lint":          {},
	"internal/mutants":       {}, // runs the tests against broken copies; nothing of it is in the product
	"internal/seam":          {},
	"internal/seam/seamtest": {}, // for tests
	"internal/step":          {},
}

// forTests is what any test file may import besides its package's row: a broker to run against, the
// modules that only tests need, and the package that it tests from outside.
var forTests = row{
	own: []string{
		"internal/broker", "internal/kafka", "internal/seam", "internal/seam/seamtest", "internal/step", "internal/testkafka",
		"processor/spec",
	},
	outside: []string{
		franz, pebble + "/v2/vfs", "pgregory.net/rapid", "github.com/cockroachdb/datadriven", golangX,
		"github.com/anishathalye/porcupine",
	},
}

// apart lists pairs that stay apart in tests too. The first may not import the second.
var apart = [][2]string{
	{"processor", "replication"},
	{"replication", "processor"},
	{"internal/audit", "state"},
	{"internal/audit", "txn"},
	{"internal/audit", "processor"},
	{"internal/audit", "replication"},
}

func checkImports(f *file) []Finding {
	r, ok := arrows[f.dir]
	if !ok {
		return []Finding{{f.path, 1, fmt.Sprintf(
			"package %q has no row in the table of internal/lint/imports.go; add one that says what it may import", f.dir)}}
	}
	var found []Finding
	for _, imp := range f.imports {
		if why := refused(f, r, imp.path); why != "" {
			found = append(found, Finding{f.path, imp.line, why})
		}
	}
	return found
}

// refused says why the import breaks a rule; "" when it does not.
func refused(f *file, r row, importPath string) string {
	if importPath == module || strings.HasPrefix(importPath, module+"/") {
		return refusedOwn(f, r, strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/"))
	}
	if first, _, _ := strings.Cut(importPath, "/"); !strings.Contains(first, ".") {
		return "" // the standard library; checkSeam looks at what is called there
	}
	allowed := r.outside
	if f.test {
		allowed = append(slices.Clone(allowed), forTests.outside...)
	}
	for _, prefix := range allowed {
		if under(importPath, prefix) {
			return ""
		}
	}
	return fmt.Sprintf("%s may not import %s (see the table in internal/lint/imports.go)", f.dir, importPath)
}

func refusedOwn(f *file, r row, dir string) string {
	for _, pair := range apart {
		if f.dir == pair[0] && dir == pair[1] {
			return fmt.Sprintf("%s never imports %s, not even in a test", f.dir, dir)
		}
	}
	if slices.Contains(r.own, dir) {
		return ""
	}
	if f.test && (dir == f.dir || slices.Contains(forTests.own, dir) || slices.Contains(r.tests, dir)) {
		return ""
	}
	return fmt.Sprintf("%s may not import %s (see the table in internal/lint/imports.go)", f.dir, dir)
}
