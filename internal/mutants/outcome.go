package main

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
)

// outcome is what a check comes to.
type outcome int

const (
	passed   outcome = iota
	failed           // it has found something wrong with the program
	unproved         // a command has seen too little to say
	hung             // the time of the tests was up
	unclear          // the tests ended, and none says that it failed
)

// The numbers that a command exits with, beside 0: see internal/chaos/cmd/chaos. With others it has
// judged nothing, be it that a broker did not start or that it is broken itself.
const (
	exitViolated = 1
	exitUnproved = 3
)

// What the output of tests has that failed by themselves, of those whose time was up, and of those
// that somebody else kept a port from.
var (
	testFailed = regexp.MustCompile(`(?m)^ *--- FAIL: |^panic: |^fatal error: `)
	timeIsUp   = regexp.MustCompile(`(?m)^panic: test timed out after .*$`)
)

const portTaken = "address already in use"

// ofTest is what a run of tests came to. Only a test that says so has failed: a machine that was
// too busy, or ended the process, says nothing of the program.
func ofTest(err error, out string) (outcome, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return passed, err
	}
	beside := timeIsUp.ReplaceAllString(out, "")
	switch {
	case strings.Contains(out, portTaken):
		return unclear, nil
	case testFailed.MatchString(beside):
		return failed, nil
	case beside != out:
		return hung, nil
	}
	return unclear, nil
}

// ofCommand is what a command came to.
func ofCommand(err error) (outcome, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		switch exit.ExitCode() {
		case exitViolated:
			return failed, nil
		case exitUnproved:
			return unproved, nil
		}
	}
	return passed, err
}
