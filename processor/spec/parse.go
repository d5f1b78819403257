package spec

import "fmt"

// A ParseError says where in a spec what is wrong, for the user who wrote it.
type ParseError struct {
	File         string
	Line, Column int // from 1
	Msg          string
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Parse reads a spec strictly: an unknown field, a bad value or a contradiction is a *ParseError.
func Parse(data []byte, file string) (*Spec, error) { panic("spec: not written yet") }

// YAML is the canonical form of the spec: equal specs have equal bytes, and Parse reads it back.
func (s *Spec) YAML() []byte { panic("spec: not written yet") }
