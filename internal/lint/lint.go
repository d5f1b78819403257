package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"sort"
	"strconv"
	"strings"
)

// module is the path that every import of the project's own packages begins with.
const module = "github.com/tally-kafka/tally"

// A Source is one Go file: its slash-separated path below the module's root, and its text.
type Source struct {
	Path string
	Text []byte
}

// A Finding is one broken rule. Message says what to do about it.
type Finding struct {
	Path    string
	Line    int
	Message string
}

func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Message) }

// file is a parsed Source.
type file struct {
	path    string
	dir     string // "" at the root
	test    bool
	lines   []string
	set     *token.FileSet
	tree    *ast.File
	imports []imported
}

type imported struct {
	path string
	name string // as the file's code says it
	line int
}

// Check applies every rule to the files, which should be all of the module's (the rules on packages
// look at what is there), and returns what it found in order of path and line.
func Check(sources []Source) []Finding {
	var files []*file
	var found []Finding
	for _, s := range sources {
		f, err := parse(s)
		if err != nil {
			found = append(found, Finding{s.Path, 1, "cannot be parsed: " + err.Error()})
			continue
		}
		files = append(files, f)
	}
	for _, f := range files {
		found = append(found, checkImports(f)...)
		found = append(found, checkSeam(f)...)
		found = append(found, checkShape(f)...)
		found = append(found, checkComments(f)...)
	}
	found = append(found, checkPackageDocs(files)...)
	sort.Slice(found, func(i, j int) bool {
		a, b := found[i], found[j]
		if a.Path != b.Path {
			return a.Path < b.Path
		}
		return a.Line < b.Line
	})
	return found
}

func parse(s Source) (*file, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, s.Path, s.Text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{
		path:  s.Path,
		test:  strings.HasSuffix(s.Path, "_test.go"),
		lines: strings.Split(strings.TrimSuffix(string(s.Text), "\n"), "\n"),
		set:   set,
		tree:  tree,
	}
	if dir := path.Dir(s.Path); dir != "." {
		f.dir = dir
	}
	for _, spec := range tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		f.imports = append(f.imports, imported{path: p, name: localName(spec, p), line: f.line(spec.Pos())})
	}
	return f, nil
}

// localName is how the file's code names the import. Without a name in the import it is guessed
// from the path, which is right for the standard library's packages that the rules look at.
func localName(spec *ast.ImportSpec, importPath string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	base := path.Base(importPath)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(importPath))
	}
	return base
}

func (f *file) line(p token.Pos) int { return f.set.Position(p).Line }

// under says whether dir is root or lies below it.
func under(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }
