//go:build !failpoint

package main

import (
	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/internal/seam"
)

// failpoint is nothing in a normal build.
func failpoint(func(string) string, *seam.Seam) func(*node.Config) { return nil }
