package main

import (
	"errors"
	"fmt"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
)

// The exit codes; people's scripts depend on them.
const (
	exitDone     = 0
	exitFailed   = 1 // unknown app, no node, timeout
	exitUsage    = 2 // usage or bad spec
	exitNoValues = 3 // the asked group has no values
	exitFenced   = 5 // fenced by another
)

// exitError is an error with the exit code that it means.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// ExitCode is how any package's error says which exit code it means.
func (e *exitError) ExitCode() int { return e.code }

// usagef is an error of the person who wrote the command line.
func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var coder interface{ ExitCode() int }
	var parse *spec.ParseError
	var answer *api.Error
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &coder):
		return coder.ExitCode()
	case errors.As(err, &parse), errors.As(err, &answer) && (answer.Code == api.CodeBadRequest || answer.Code == api.CodeNeedsTLS):
		return exitUsage
	}
	return exitFailed
}
