package main

import (
	"errors"
	"os/exec"
)

// outcome is what a check comes to.
type outcome int

const (
	passed   outcome = iota
	failed           // it has found something wrong with the program
	unproved         // a command has seen too little to say
)

// The numbers that a command exits with, beside 0: see internal/chaos/cmd/chaos. With others it has
// judged nothing, be it that a broker did not start or that it is broken itself.
const (
	exitViolated = 1
	exitUnproved = 3
)

// ofTest is what a run of tests came to: whatever ends it has failed it, a time that is up as well.
func ofTest(err error) (outcome, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return failed, nil
	}
	return passed, err
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
