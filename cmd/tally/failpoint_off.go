//go:build !failpoint

package main

import "github.com/tally-kafka/tally/internal/step"

// failpoint is nothing in a normal build.
func failpoint(func(string) string) step.Hook { return nil }
