package lint

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Limits of size: a file has one reason to change, and a command only parses, calls and prints.
const (
	fileLinesMax    = 500
	commandLinesMax = 150
	commentColsMax  = 100
	tabCols         = 4
)

// unfinished matches the marks of work left undone. It is put together here so that a search for
// the marks does not find the search.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

func checkShape(f *file) []Finding {
	if f.test {
		return nil
	}
	limit := fileLinesMax
	if f.dir == "cmd/tally" {
		limit = commandLinesMax
	}
	if n := len(f.lines); n > limit {
		return []Finding{{f.path, n, fmt.Sprintf("%d lines; at most %d: divide it by what changes together", n, limit)}}
	}
	return nil
}

// checkComments looks at each line of each comment.
func checkComments(f *file) []Finding {
	var found []Finding
	for _, group := range f.tree.Comments {
		for _, c := range group.List {
			first := f.line(c.Pos())
			for i := range strings.Split(c.Text, "\n") {
				if why := commentFault(f.lines[first-1+i]); why != "" {
					found = append(found, Finding{f.path, first + i, why})
				}
			}
		}
	}
	return found
}

// commentFault takes a whole line that holds a comment.
func commentFault(line string) string {
	text := strings.TrimSpace(line)
	if unfinished.MatchString(text) {
		return "say what is missing in an issue, not in a comment"
	}
	if !strings.HasPrefix(text, "//") || strings.HasPrefix(text, "//go:") || strings.Contains(text, "://") {
		return "" // code with a comment behind it is gofmt's affair; a URL cannot be wrapped
	}
	cols := utf8.RuneCountInString(line) + (tabCols-1)*strings.Count(line, "\t")
	if cols > commentColsMax {
		return fmt.Sprintf("comment of %d columns; at most %d", cols, commentColsMax)
	}
	return ""
}

// checkPackageDocs wants of each package a comment that says what it is: in doc.go, or in main.go
// for a command.
func checkPackageDocs(files []*file) []Finding {
	type pkg struct {
		first      *file
		documented bool
	}
	pkgs := map[string]*pkg{}
	var order []string
	for _, f := range files {
		if f.test {
			continue
		}
		p := pkgs[f.dir]
		if p == nil {
			p = &pkg{first: f}
			pkgs[f.dir] = p
			order = append(order, f.dir)
		}
		p.documented = p.documented || documents(f)
	}
	var found []Finding
	for _, dir := range order {
		if p := pkgs[dir]; !p.documented {
			found = append(found, Finding{p.first.path, 1, fmt.Sprintf(
				"package %q has no doc.go (main.go for a command) whose comment says what it is", dir)})
		}
	}
	return found
}

func documents(f *file) bool {
	doc := f.tree.Doc.Text()
	switch {
	case f.tree.Name.Name == "main":
		return strings.HasPrefix(doc, "Command ")
	case path.Base(f.path) == "doc.go" || path.Base(f.path) == f.tree.Name.Name+".go":
		return strings.HasPrefix(doc, "Package "+f.tree.Name.Name+" ")
	}
	return false
}
