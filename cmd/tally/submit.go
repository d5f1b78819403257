package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
)

type submitOptions struct {
	serverFlags
	file     string
	standbys *int // nil: as it is
	json     bool
}

func newCmdSubmit(t *tool) *cobra.Command {
	var opt submitOptions
	var standbys int
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Run an app on a cluster, or give it a new spec",
		Long: `Run the app of a spec file on the cluster of the node that is asked. When the app runs already, what
may change while it runs is changed; anything else is refused, with what would work. The number of
standbys stays, unless --standbys says another; the same FILE with it changes that alone.`,
		Example: `  tally submit wordcount.yaml
  tally submit wordcount.yaml --standbys 2
  tally submit wordcount.yaml --server http://10.0.0.1:7400`,
		Args: argsOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.file = args[0]
			if cmd.Flags().Changed("standbys") {
				opt.standbys = &standbys
			}
			return runSubmit(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	cmd.Flags().IntVar(&standbys, "standbys", 0, "`N` warm copies of each lane beside the owner's (default: as the app has them, 1 for a new one)")
	cmd.Flags().BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runSubmit(ctx context.Context, t *tool, opt submitOptions) error {
	text, err := os.ReadFile(opt.file)
	if err != nil {
		return usagef("%w", err)
	}
	s, err := spec.Parse(text, opt.file)
	if err != nil {
		return err
	}
	if opt.standbys != nil {
		if err := checkStandbys(*opt.standbys); err != nil {
			return err
		}
	}
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	answer, err := client.Submit(ctx, s.App, text, api.SubmitRequest{Standbys: opt.standbys})
	if err != nil {
		return err
	}
	if opt.standbys != nil && answer.Standbys < 0 {
		return fmt.Errorf("the node has not heard of --standbys, and app %s keeps the number that it has: its release is another than this one's", answer.App)
	}
	if opt.json {
		return printJSON(t.out, answer)
	}
	said := map[string]string{
		api.ChangeAdded:    "app %s runs in generation %d, in %d lanes\n",
		api.ChangeUpdated:  "app %s goes on under the new spec, in generation %d, in %d lanes\n",
		api.ChangeStandbys: "app %s goes on, in generation %d, in %d lanes" + fmt.Sprintf("; standbys of each: %d\n", answer.Standbys),
		api.ChangeNone:     "app %s runs under this spec already, in generation %d, in %d lanes\n",
	}[answer.Change]
	if said == "" {
		return fmt.Errorf("the node says %q of app %s: its release is another than this one's", answer.Change, answer.App)
	}
	for _, note := range answer.Notes {
		fmt.Fprintf(t.err, "tally: %s\n", shownLines(note))
	}
	_, err = fmt.Fprintf(t.out, said, answer.App, answer.Generation, answer.Lanes)
	return err
}

func checkStandbys(n int) error {
	if n < 0 || n > api.StandbysMax {
		return usagef("--standbys %d: say a number from 0 to %d", n, api.StandbysMax)
	}
	return nil
}
