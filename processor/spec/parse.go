package spec

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

// A ParseError says where in a spec what is wrong, for the user who wrote it.
type ParseError struct {
	File         string
	Line, Column int // from 1; columns count code points
	Msg          string
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Parse reads a spec strictly: an unknown field, a bad value or a contradiction is a *ParseError.
//
// What it accepts it accepts again as the canonical text s.YAML(), which has the same YAML: that is
// what is stored, and what a node starts from. It can be longer than data, since numbers are
// written out in it and strings quoted, so a spec within the limits is refused when that text is
// not.
func Parse(data []byte, file string) (*Spec, error) {
	s, bad := parse(data, file)
	if bad != nil {
		return nil, bad
	}
	stored := s.YAML()
	if bytes.Equal(stored, data) {
		return s, nil
	}
	switch again, bad := parse(stored, file); {
	case bad != nil:
		return nil, &ParseError{file, 1, 1, "the spec is stored with its numbers written out and its strings in quotes, " +
			"and cannot be read again then: " + bad.Msg}
	case !bytes.Equal(again.YAML(), stored):
		return nil, &ParseError{file, 1, 1, "the spec would be another one when it is read again from where it is stored"}
	}
	return s, nil
}

// parse does not look at what will be stored.
func parse(data []byte, file string) (*Spec, *ParseError) {
	r := &reader{file: file, data: data}
	root := r.document()
	if r.err != nil {
		return nil, r.err
	}
	s := r.spec(root)
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

// What a spec will say one day. Such a name is not unknown, and is not taken for a misspelled one.
var reserved = []string{"time", "window", "ttl", "step"}

// spec reads the sections in an order in which each finds what it must agree with.
func (r *reader) spec(root ast.Node) *Spec {
	for _, e := range r.entriesOf(root) {
		if contains(reserved, e.name) {
			r.fail(e.key, "%s is not supported yet: the name is reserved; remove it", e.name)
		}
	}
	f := r.fields(root, "the spec",
		"app", "input", "where", "split", "group", "aggregates", "output", "on_error", "lanes", "repartition")
	s := &Spec{}
	steps := []struct {
		name    string
		read    func(s *Spec, n ast.Node)
		missing string // what to say when the field must be there
	}{
		{"app", r.app, "app is missing: give the app a name, such as `app: wordcount`"},
		{"input", r.input, "input is missing: name the topic to read, such as `input: {topic: input_event}`"},
		{"where", r.where, ""},
		{"split", r.split, ""},
		{"group", r.group, "group is missing: say what to count by, such as `group: [key, item]`"},
		{"aggregates", r.aggregates, ""},
		{"output", r.output, ""},
		{"on_error", r.onError, ""},
		{"lanes", r.lanes, ""},
		{"repartition", r.repartition, ""},
	}
	for _, step := range steps {
		e, given := f[step.name]
		if !given && step.missing != "" {
			r.fail(root, "%s", step.missing)
		}
		if r.err != nil {
			return nil
		}
		if given {
			step.read(s, e.value)
			continue
		}
		step.read(s, nil)
	}
	return s
}

// entriesOf leaves a root that is no mapping to fields, which refuses it.
func (r *reader) entriesOf(root ast.Node) []entry {
	switch root.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return r.entries(root, "the spec")
	}
	return nil
}

var appName = regexp.MustCompile(`^[a-z0-9-]+$`)

func (r *reader) app(s *Spec, n ast.Node) {
	s.App = r.text(n, "app")
	switch {
	case r.err != nil:
	case len(s.App) > MaxAppName:
		r.fail(n, "the app name has %d characters, more than %d", len(s.App), MaxAppName)
	case !appName.MatchString(s.App):
		r.fail(n, "the app name %q may hold only a-z, 0-9 and -", s.App)
	}
}

func (r *reader) input(s *Spec, n ast.Node) {
	for _, e := range r.entries(n, "input") {
		if e.name == "topics" {
			r.fail(e.key, "input.topics is not supported yet: the name is reserved; an app reads one topic")
		}
	}
	f := r.fields(n, "input", "topic", "start", "format")
	topic, given := f["topic"]
	if r.err == nil && !given {
		r.fail(n, "input.topic is missing")
	}
	s.Input = Input{Start: StartEarliest, Format: FormatText}
	if r.err == nil {
		s.Input.Topic = r.topic(topic.value, "input.topic", s)
	}
	if e, ok := f["start"]; ok {
		s.Input.Start = Start(r.choice(e.value, "input.start", "earliest", "latest"))
	}
	if e, ok := f["format"]; ok {
		s.Input.Format = Format(r.choice(e.value, "input.format", "text", "json"))
	}
}

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// topic refuses the topics that belong to the app itself: it would count its own changes.
func (r *reader) topic(n ast.Node, what string, s *Spec) string {
	name := r.text(n, what)
	switch {
	case r.err != nil:
		return ""
	case len(name) > MaxTopicName:
		r.fail(n, "%s has %d characters, more than Kafka's %d", what, len(name), MaxTopicName)
	case !topicName.MatchString(name) || name == "." || name == "..":
		r.fail(n, "%s %q may hold only a-z, A-Z, 0-9, dots, _ and -, and not be . or ..", what, name)
	case contains(OwnTopics(s.App), name):
		r.fail(n, "%s %s is one of the app's own topics", what, name)
	}
	return name
}

// pathIn is a PATH, which only a JSON event has.
func (r *reader) pathIn(s *Spec, n ast.Node, what string) Path {
	p := r.path(n, what)
	if r.err == nil && s.Input.Format != FormatJSON {
		r.fail(n, "%s is a PATH, which needs `format: json` in input", what)
	}
	return p
}

func (r *reader) where(s *Spec, n ast.Node) {
	if n == nil {
		return
	}
	for i, c := range r.items(n, "where", MaxConditions) {
		s.Where = append(s.Where, r.condition(s, c, fmt.Sprintf("where[%d]", i)))
	}
}

func (r *reader) condition(s *Spec, n ast.Node, what string) Condition {
	f := r.fields(n, what, "path", "in", "exists", "not")
	var c Condition
	path, hasPath := f["path"]
	in, hasIn := f["in"]
	exists, hasExists := f["exists"]
	switch {
	case r.err != nil:
		return c
	case !hasPath:
		r.fail(n, "path is missing in %s", what)
	case hasIn == hasExists:
		r.fail(n, "%s needs either `in: [...]` or `exists: true`", what)
	}
	if r.err == nil {
		c.Path = r.pathIn(s, path.value, what+".path")
	}
	if hasIn {
		c.In = r.scalars(in.value, what+".in")
	}
	if hasExists && !r.truth(exists.value, what+".exists") {
		r.fail(exists.value, "%s.exists is true or left out: "+
			"for what must be missing write `exists: true, not: true`", what)
	}
	if e, ok := f["not"]; ok {
		c.Not = r.truth(e.value, what+".not")
	}
	return c
}

func (r *reader) scalars(n ast.Node, what string) []Scalar {
	var list []Scalar
	for _, v := range r.items(n, what, MaxInValues) {
		list = append(list, r.scalar(v, what))
	}
	if r.err == nil && len(list) == 0 {
		r.fail(n, "%s is empty: no event would count", what)
	}
	return list
}

func (r *reader) split(s *Spec, n ast.Node) {
	s.Split.Kind = SplitNone
	if n == nil {
		return
	}
	if _, ok := n.(*ast.StringNode); ok {
		kind := r.choice(n, "split", "none", "words", "lines")
		if kind != "none" && s.Input.Format == FormatJSON {
			r.fail(n, "split: %s would split the JSON text itself; name the string to split: {%s: PATH}", kind, kind)
		}
		s.Split.Kind = SplitKind(kind)
		return
	}
	f := r.fields(n, "split", "words", "lines", "each")
	if r.err == nil && len(f) != 1 {
		r.fail(n, "split holds one of words, lines and each")
	}
	for name, e := range f {
		s.Split = Split{SplitKind(name), r.pathIn(s, e.value, "split."+name)}
	}
}

func (r *reader) group(s *Spec, n ast.Node) {
	seen := map[string]bool{}
	list := r.items(n, "group", MaxParts)
	if r.err == nil && len(list) == 0 {
		r.fail(n, "group is empty: say what to count by, such as [key, item]")
	}
	for i, v := range list {
		p := r.part(s, v, fmt.Sprintf("group[%d]", i))
		if r.err == nil && seen[p.Name()] {
			r.fail(v, "%s stands twice in group", p.Name())
		}
		seen[p.Name()] = true
		s.Group = append(s.Group, p)
	}
}

func (r *reader) part(s *Spec, n ast.Node, what string) Part {
	if _, ok := n.(*ast.StringNode); ok {
		return Part{Kind: PartKind(r.choice(n, what, "key", "item", "partition"))}
	}
	f := r.fields(n, what, "path", "as")
	path, hasPath := f["path"]
	as, hasAs := f["as"]
	if r.err == nil && (!hasPath || !hasAs) {
		r.fail(n, "%s needs both: {path: PATH, as: NAME}", what)
	}
	if r.err != nil {
		return Part{}
	}
	p := Part{Kind: PartPath, Path: r.pathIn(s, path.value, what+".path"), As: r.name(as.value, what+".as")}
	if contains([]string{"key", "item", "partition"}, p.As) {
		r.fail(as.value, "%s.as: the name %s belongs to the part %s; choose another", what, p.As, p.As)
	}
	return p
}

// name is the name of a value in output records.
func (r *reader) name(n ast.Node, what string) string {
	s := r.text(n, what)
	if r.err == nil {
		r.checkName(n, s, what)
	}
	return s
}

func (r *reader) checkName(n ast.Node, s, what string) {
	bad := strings.IndexFunc(s, func(c rune) bool {
		return !strings.ContainsRune("_-.", c) && !unicode.In(c, unicode.L, unicode.N, unicode.M)
	})
	switch {
	case s == "":
		r.fail(n, "%s is empty", what)
	case len(s) > MaxName:
		r.fail(n, "%s has %d bytes, more than %d", what, len(s), MaxName)
	case bad >= 0:
		r.fail(n, "%s %q may hold only letters, digits, _, - and dots", what, s)
	}
}

func (r *reader) aggregates(s *Spec, n ast.Node) {
	if n == nil {
		r.addAggregate(s, nil, Aggregate{Name: "count", Kind: Count})
		return
	}
	list := r.entries(n, "aggregates")
	switch {
	case r.err != nil:
	case len(list) == 0:
		r.fail(n, "aggregates is empty: leave it out for {count: count}")
	case len(list) > MaxAggregates:
		r.fail(list[MaxAggregates].key, "more than %d aggregates", MaxAggregates)
	}
	for _, e := range list {
		if r.checkName(e.key, e.name, "the name of an aggregate"); r.err != nil {
			return
		}
		r.addAggregate(s, e.key, r.aggregate(s, e))
	}
}

func (r *reader) aggregate(s *Spec, e entry) Aggregate {
	what := "aggregates." + e.name
	if text, ok := e.value.(*ast.StringNode); ok {
		if contains([]string{"sum", "min", "max"}, text.Value) {
			r.fail(e.value, "%s needs the PATH of a number: {%s: PATH}", what, text.Value)
		}
		return Aggregate{Name: e.name, Kind: AggregateKind(r.choice(e.value, what, "count"))}
	}
	f := r.fields(e.value, what, "sum", "min", "max")
	if r.err == nil && len(f) != 1 {
		r.fail(e.value, "%s holds one of sum, min and max", what)
	}
	a := Aggregate{Name: e.name}
	for kind, value := range f {
		a.Kind, a.Path = AggregateKind(kind), r.pathIn(s, value.value, what+"."+kind)
	}
	return a
}

// addAggregate refuses a name that a part of the group has: both stand in one output record.
func (r *reader) addAggregate(s *Spec, at ast.Node, a Aggregate) {
	for _, p := range s.Group {
		if p.Name() == a.Name {
			r.fail(at, "the aggregate %s has the name of a part of group; name one of them otherwise", a.Name)
		}
	}
	s.Aggregates = append(s.Aggregates, a)
}

func (r *reader) output(s *Spec, n ast.Node) {
	if n == nil {
		return
	}
	f := r.fields(n, "output", "topic", "emit", "key")
	topic, given := f["topic"]
	if r.err == nil && !given {
		r.fail(n, "output.topic is missing; without an output leave out `output`: "+
			"the counts are for queries then")
	}
	if r.err != nil {
		return
	}
	out := &Output{Topic: r.topic(topic.value, "output.topic", s), Emit: EmitLatest, Key: KeyEvent}
	if s.KeyPart() < 0 {
		out.Key = KeyGroup
	}
	if out.Topic == s.Input.Topic {
		r.fail(topic.value, "output.topic is the input topic %s: the app would count its own output", out.Topic)
	}
	if e, ok := f["emit"]; ok {
		out.Emit = Emit(r.choice(e.value, "output.emit", "latest", "every"))
	}
	if e, ok := f["key"]; ok {
		out.Key = OutputKey(r.choice(e.value, "output.key", "event", "group"))
	}
	if out.Key == KeyEvent && s.KeyPart() < 0 {
		r.fail(f["key"].value, "output.key: event needs key in group, "+
			"since a group without it has events of many keys; write `key: group`")
	}
	s.Output = out
}

func (r *reader) onError(s *Spec, n ast.Node) {
	s.OnError = Dead
	if n != nil {
		s.OnError = OnError(r.choice(n, "on_error", "dead", "skip", "stop"))
	}
}

func (r *reader) lanes(s *Spec, n ast.Node) {
	if n != nil {
		s.Lanes = r.count(n, "lanes", MaxLanes)
	}
}

// repartition is a mode, or a mapping of a mode and a number of partitions.
func (r *reader) repartition(s *Spec, n ast.Node) {
	s.Repartition.Mode = RepartitionAuto
	if n == nil {
		return
	}
	modes := []string{string(RepartitionAuto), string(RepartitionAlways), string(RepartitionNever)}
	if _, ok := n.(*ast.StringNode); ok {
		s.Repartition.Mode = RepartitionMode(r.choice(n, "repartition", modes...))
		return
	}
	f := r.fields(n, "repartition", "mode", "partitions")
	if e, ok := f["mode"]; ok {
		s.Repartition.Mode = RepartitionMode(r.choice(e.value, "repartition.mode", modes...))
	}
	e, ok := f["partitions"]
	if !ok || r.err != nil {
		return
	}
	if s.Repartition.Mode == RepartitionNever {
		r.fail(e.key, "repartition.partitions says how many partitions the repartition topic has, and `mode: never` forbids it")
	}
	s.Repartition.Partitions = r.count(e.value, "repartition.partitions", MaxRepartitions)
}

// count is a whole number from 1 to limit.
func (r *reader) count(n ast.Node, what string, limit int) int {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		r.fail(n, "%s must be a number from 1 to %d, not %s", what, limit, describe(n))
		return 0
	}
	v, ok := i.Value.(uint64)
	if !ok || v < 1 || v > uint64(limit) {
		r.fail(n, "%s is %s, but must be from 1 to %d", what, i.Token.Value, limit)
		return 0
	}
	return int(v)
}
