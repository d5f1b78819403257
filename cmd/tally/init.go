package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/processor/spec"
)

func newCmdInit(t *tool) *cobra.Command {
	names := spec.TemplateNames()
	return &cobra.Command{
		Use:   "init [" + strings.Join(names, "|") + "]",
		Short: "Print a commented spec to start from",
		Long: `Print a commented spec to start from: wordcount counts the words of each key's texts, sum adds up
numbers of JSON events, json counts by fields of JSON events.`,
		Example: `  tally init wordcount > wordcount.yaml
  tally check wordcount.yaml`,
		ValidArgs: names,
		Args:      argsOf(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			name := "wordcount"
			if len(args) > 0 {
				name = args[0]
			}
			return runInit(t, name)
		},
	}
}

func runInit(t *tool, name string) error {
	text, err := spec.Template(name)
	if err != nil {
		return usagef("there is no template %q: there is %s", name, strings.Join(spec.TemplateNames(), ", "))
	}
	_, err = t.out.Write(text)
	return err
}
