package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

type forgetOptions struct {
	serverFlags
	node string
	dry  bool
	json bool
}

func newCmdNodeForget(t *tool) *cobra.Command {
	var opt forgetOptions
	cmd := &cobra.Command{
		Use:   "forget NODE",
		Short: "Take a node that is gone for good out of its cluster",
		Long: `Take a node that is gone for good out of the cluster of the node that is asked: out of its members and
of its voters, whose majority is then one of those that are left. It is refused while the node is alive.

One that was lost before it had ever registered is named by its address, as tally status does.

It needs a leader: where most voters are lost, see tally node recover. A node that comes back after
all is let in again, as one that has just joined.`,
		Example: `  tally node forget b --dry-run
  tally node forget b`,
		Args: names(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.node = args[0]
			return runNodeForget(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	opt.add(cmd)
	fl.BoolVar(&opt.dry, "dry-run", false, "say what would come of it, and do nothing")
	fl.BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runNodeForget(ctx context.Context, t *tool, opt forgetOptions) error {
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	a, err := client.Forget(ctx, opt.node, opt.dry)
	if err != nil {
		return err
	}
	if opt.json {
		return printJSON(t.out, a)
	}
	vote := "had no vote"
	if a.Voted {
		vote = "had a vote"
	}
	if !opt.dry {
		_, err = fmt.Fprintf(t.out, "node %s (%s) is forgotten; it %s, and %s without it\n", shown(a.Node), shown(a.Addr), vote, nodesVote(a.Voters))
		return err
	}
	fmt.Fprintf(t.out, "node %s (%s) is not alive, and would be forgotten; it %s, and %s without it\n", shown(a.Node), shown(a.Addr), vote, nodesVote(a.Voters))
	if a.Lanes > 0 {
		fmt.Fprintf(t.out, "lanes in which it still has a part, and which others take first: %d\n", a.Lanes)
	}
	fmt.Fprintln(t.err, "Nothing was done: leave --dry-run out to do it.")
	return nil
}

func nodesVote(n int) string {
	if n == 1 {
		return "1 node votes"
	}
	return fmt.Sprintf("%d nodes vote", n)
}
