package main

import (
	"fmt"
	"os"

	"github.com/tally-kafka/tally/processor/spec"
)

// readSpecs reads the spec files; a bad one, or two of one app, is the user's error.
func readSpecs(paths []string) ([]*spec.Spec, error) {
	var specs []*spec.Spec
	files := map[string]string{}
	for _, path := range paths {
		s, err := readSpec(path)
		if err != nil {
			return nil, err
		}
		if first, ok := files[s.App]; ok {
			return nil, usagef("%s and %s both define app %s: give one of them another name", first, path, s.App)
		}
		files[s.App] = path
		specs = append(specs, s)
	}
	return specs, nil
}

func readSpec(path string) (*spec.Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("read the spec: %w", err)}
	}
	return spec.Parse(data, path)
}
