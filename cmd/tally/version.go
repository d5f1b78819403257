package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newCmdVersion(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  tally version",
		Args:    argsOf(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(t.out, "tally %s\n", version())
			return err
		},
	}
}

// version is what the Go toolchain stamped into the binary: the tag or commit, and the toolchain.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	return v + " " + info.GoVersion
}
