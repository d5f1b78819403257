package lint

import (
	"fmt"
	"go/ast"
	"slices"
)

// An exception lets one file, or every file below a directory, use what the seam rule forbids.
type exception struct {
	path string   // a file, or a directory with all below it
	uses []string // "package.Name", or "package.*" for the whole package
	why  string
}

// exceptions are all the places outside internal/seam that touch the world directly.
var exceptions = []exception{
	{"internal/testkafka", []string{"time.*", "net.*", "net/http.*", "math/rand/v2.*", "crypto/rand.*"},
		"runs a real broker for tests; nothing of it is in the product"},
	{"internal/chaos", []string{"time.*", "net.*", "net/http.*", "math/rand/v2.*"},
		"breaks real processes for as long as its schedule says; nothing of it is in the product"},
	{"internal/failpoint", []string{"time.Now", "time.Sleep"}, "sets a node's clock off, in a build for tests alone"},
	{"internal/mutants", []string{"time.Now", "time.Since"},
		"says how long a check of the tests took; nothing of it is in the product"},
}

// world is what non-test code takes from a seam.Seam: package path -> names; nil means any use.
var world = map[string][]string{
	"time": {"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"},
	"net": {
		"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer",
	},
	"crypto/tls":   {"Dial", "DialWithDialer", "Dialer"},
	"net/http":     {"Get", "Head", "Post", "PostForm", "DefaultClient", "DefaultTransport"},
	"math/rand":    nil,
	"math/rand/v2": nil,
	"crypto/rand":  nil,
}

// checkSeam finds code that takes time, chance or a connection past the seam; and sleeps in tests,
// which wait for a length of time where they should wait for a condition.
func checkSeam(f *file) []Finding {
	if f.dir == "internal/seam" {
		return nil
	}
	watched := map[string]string{} // local name -> package path
	for _, imp := range f.imports {
		if _, ok := world[imp.path]; ok {
			watched[imp.name] = imp.path
		}
	}
	if len(watched) == 0 {
		return nil
	}
	if found := dotImports(f); found != nil {
		return found
	}
	var found []Finding
	ast.Inspect(f.tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		pkg, ok := watched[id.Name]
		if !ok {
			return true
		}
		if why := pastSeam(f, pkg, sel.Sel.Name); why != "" {
			found = append(found, Finding{f.path, f.line(sel.Pos()), why})
		}
		return true
	})
	return found
}

// dotImports refuses an import of a watched package under the name ".": its uses could not be seen.
func dotImports(f *file) []Finding {
	var found []Finding
	for _, imp := range f.imports {
		if _, ok := world[imp.path]; ok && imp.name == "." {
			found = append(found, Finding{f.path, imp.line, "import " + imp.path + " under a name, so that its uses can be seen"})
		}
	}
	return found
}

func pastSeam(f *file, pkg, name string) string {
	if f.test {
		if pkg == "time" && name == "Sleep" {
			return "a test polls for a condition; it does not sleep"
		}
		return ""
	}
	names := world[pkg]
	if names != nil && !slices.Contains(names, name) {
		return ""
	}
	for _, e := range exceptions {
		if under(f.path, e.path) && (slices.Contains(e.uses, pkg+"."+name) || slices.Contains(e.uses, pkg+".*")) {
			return ""
		}
	}
	return fmt.Sprintf("%s.%s goes past the seam: take a seam.Seam, or add an exception with its reason to internal/lint/seam.go",
		pkg, name)
}
