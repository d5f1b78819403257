package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func newCmdVersion(t *tool) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  tally version
  tally version --json`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				v, toolchain, _ := strings.Cut(version(), " ")
				return printJSON(t.out, versionAnswer{v, toolchain})
			}
			_, err := fmt.Fprintf(t.out, "tally %s\n", version())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// versionAnswer is the answer of version --json.
type versionAnswer struct {
	Version string `json:"version"`
	Go      string `json:"go"`
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
