package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newCmdConfig(t *tool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show where settings come from",
		Example: `  tally config print
  tally config print get --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newCmdConfigPrint(t))
	return cmd
}

type configOptions struct {
	json bool
}

func newCmdConfigPrint(t *tool) *cobra.Command {
	var opt configOptions
	cmd := &cobra.Command{
		Use:   "print [COMMAND...]",
		Short: "Print each flag of a command with its value and source",
		Long: `Print each flag of a command (run, unless another is said) with the value that the environment and
the config file give it, and where that comes from.`,
		Example: `  tally config print
  TALLY_MEMORY=1GB tally --config tally.yaml config print run
  tally config print get --json
  tally config print dead replay`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"run"}
			}
			return runConfigPrint(t, cmd, args, opt)
		},
	}
	cmd.Flags().BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

// setting is one line of the answer.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func runConfigPrint(t *tool, cmd *cobra.Command, command []string, opt configOptions) error {
	target, rest, err := cmd.Root().Find(command)
	switch {
	case err != nil:
		return usagef("%w", err)
	case len(rest) > 0 && target.HasSubCommands():
		return unknownCommand(target, rest[0])
	case len(rest) > 0:
		return usagef("`%s` has no command %q", target.CommandPath(), rest[0])
	}
	if err := target.ParseFlags(nil); err != nil { // merges the global flags in
		return err
	}
	if err := t.applySettings(target); err != nil {
		return err
	}
	settings := []setting{}
	target.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			settings = append(settings, setting{f.Name, f.Value.String(), sourceOf(f)})
		}
	})
	return printSettings(t, settings, opt)
}

func printSettings(t *tool, settings []setting, opt configOptions) error {
	if opt.json {
		return printJSON(t.out, settings)
	}
	tw := table(t.out)
	fmt.Fprintln(tw, "FLAG\tVALUE\tSOURCE")
	for _, s := range settings {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", s.Name, s.Value, s.Source)
	}
	return tw.Flush()
}
