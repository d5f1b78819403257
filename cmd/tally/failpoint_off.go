//go:build !failpoint

package main

import (
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
)

// failpoint is nothing in a normal build.
func failpoint(func(string) string, *seam.Seam) step.Hook { return nil }
