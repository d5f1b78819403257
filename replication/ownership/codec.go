package ownership

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// envelope is what an entry of the log and a snapshot look like from outside. A program that does
// not know the type, or an older program than the format asks for, sees that before it reads
// anything else.
type envelope struct {
	Type    string          `json:"type"`
	Format  int             `json:"format"` // the least that a program must know to obey it
	Payload json.RawMessage `json:"payload"`
}

// formats says for each type of command the format that a program must know to obey it. Who adds a
// type, or a field to one, raises Format and names it here, or in Command.format.
var formats = map[string]int{
	"found": 1, "register": 1, "forget": 1, "drain": 1, "put_app": 1, "drop_app": 1, "halt_app": 1,
	"plan": 1, "raise_epoch": 1, "move_lane": 1,
}

// format is that which a program must know to obey the command: a field that came later counts only
// where it is set, so that the rest is obeyed by older programs too.
func (c Command) format() int {
	if c.PutApp != nil && c.PutApp.App.KafkaCluster != "" {
		return 2
	}
	return formats[c.kind()]
}

const snapshotType = "snapshot"

// UnknownError says that the log has something that this program cannot obey. The node halts: one
// that guessed, or left it out, would from then on see another state than the others.
type UnknownError struct {
	Type   string // of the command, or "snapshot"
	Format int    // needed
	Detail string // what is not known when it is neither the type nor the format
	// Releases are the programs of members that know this format, as the state has them.
	Releases []string
}

func (e *UnknownError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the cluster's log has a %q of format %d, and this program knows format %d", e.Type, e.Format, Format)
	if e.Detail != "" {
		fmt.Fprintf(&b, " (%s)", e.Detail)
	}
	if len(e.Releases) == 0 {
		fmt.Fprintf(&b, ": start a release of tally that knows format %d", e.Format)
	} else {
		fmt.Fprintf(&b, ": start release %s of tally, as other nodes run", strings.Join(e.Releases, " or "))
	}
	return b.String()
}

// Encode makes the entry of the log of a command with exactly one field set. It panics on another,
// and on an Intent that is no JSON: both are made by programs alone.
func Encode(c Command) []byte {
	kind := c.kind()
	payload, err := json.Marshal(c.payload())
	if err != nil {
		panic(fmt.Sprintf("ownership: a %s that JSON cannot say: %v", kind, err))
	}
	return mustMarshal(envelope{Type: kind, Format: c.format(), Payload: payload})
}

// Decode reads an entry of the log, which needs the format that it returns. What this program
// cannot obey is an *UnknownError.
func Decode(data []byte) (c Command, format int, err error) {
	e, err := open(data)
	if err != nil {
		return Command{}, 0, fmt.Errorf("an entry of the cluster's log: %w", err)
	}
	_, known := formats[e.Type]
	if !known || e.Format > Format {
		return Command{}, 0, &UnknownError{Type: e.Type, Format: e.Format}
	}
	// The payload is read as the field of the command that has the type's name.
	inner := slices.Concat([]byte(`{"`+e.Type+`":`), e.Payload, []byte("}"))
	if err := strict(inner, &c); err != nil {
		return Command{}, 0, &UnknownError{Type: e.Type, Format: e.Format, Detail: err.Error()}
	}
	if c.count() != 1 {
		return Command{}, 0, fmt.Errorf("an entry of the cluster's log: a %q without a payload", e.Type)
	}
	return c, e.Format, nil
}

// Snapshot encodes the state. The same state has the same bytes on every node.
func (s *State) Snapshot() []byte {
	return mustMarshal(envelope{Type: snapshotType, Format: s.Format, Payload: mustMarshal(s)})
}

// Restore decodes a snapshot. One of a newer program is an *UnknownError.
func Restore(data []byte) (*State, error) {
	e, err := open(data)
	if err != nil {
		return nil, fmt.Errorf("a snapshot of the cluster: %w", err)
	}
	if e.Type != snapshotType || e.Format > Format {
		return nil, &UnknownError{Type: e.Type, Format: e.Format}
	}
	s := New()
	if err := strict(e.Payload, s); err != nil {
		return nil, &UnknownError{Type: e.Type, Format: e.Format, Detail: err.Error()}
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("a snapshot of the cluster is damaged: %w", err)
	}
	return s, nil
}

// open reads an envelope. Unknown fields beside the three are let pass: a newer program may say
// more there, as long as the format is one that this program knows.
func open(data []byte) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("%d bytes that are no envelope: %w", len(data), err)
	}
	if e.Type == "" || e.Format < 1 || len(e.Payload) == 0 {
		return e, fmt.Errorf("an envelope without type, format or payload (type %q, format %d)", e.Type, e.Format)
	}
	return e, nil
}

// strict decodes one value and refuses fields that the program does not know: they would be lost
// here, and not elsewhere.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one value")
	}
	return nil
}

func mustMarshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("ownership: a %T that JSON cannot say: %v", v, err))
	}
	return data
}

// kind is the JSON name of the one field that is set.
func (c Command) kind() string {
	if n := c.count(); n != 1 {
		panic(fmt.Sprintf("ownership: a command with %d fields set", n))
	}
	field, _ := c.only()
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

func (c Command) payload() any {
	_, value := c.only()
	return value
}

// only returns the first field that is set.
func (c Command) only() (reflect.StructField, any) {
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if !v.Field(i).IsNil() {
			return v.Type().Field(i), v.Field(i).Interface()
		}
	}
	panic("ownership: an empty command")
}

func (c Command) count() (n int) {
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if !v.Field(i).IsNil() {
			n++
		}
	}
	return n
}
