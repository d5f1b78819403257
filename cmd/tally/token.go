package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/token"
)

const defaultTokens = "tokens.json"

func newCmdToken(t *tool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke people's tokens",
		Long: `Make, list and revoke the tokens by which people may ask a node, or change something. They are in a
file of which each node has a copy (tally run --tokens FILE); it holds hashes alone. A node that runs
takes a changed file within seconds.`,
		Example: `  tally token create ann --scope admin
  tally token create grafana --ttl 8760h
  tally token list`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newCmdTokenCreate(t), newCmdTokenList(t), newCmdTokenRevoke(t))
	return cmd
}

func addTokensFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "tokens", defaultTokens, "the token `FILE`")
}

func newCmdTokenCreate(t *tool) *cobra.Command {
	var file, scope string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print it: it is shown only this once",
		Long: `Make a token and print it: it is shown only this once. One of the scope read may ask; one of the scope
admin may also change what runs. NAME is for the list.`,
		Example: `  tally token create ann --scope admin > ann.token
  tally status --server https://10.0.0.1:7400 --ca ca.crt --token @ann.token`,
		Args: names(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return runTokenCreate(t, file, args[0], scope, ttl)
		},
	}
	addTokensFlag(cmd, &file)
	cmd.Flags().StringVar(&scope, "scope", string(token.Read), "`read|admin`: what its holder may do")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "for how long it is good, such as 720h (default: until it is revoked)")
	return cmd
}

func runTokenCreate(t *tool, file, name, scopeText string, ttl time.Duration) error {
	scope, err := token.ParseScope(scopeText)
	if err != nil {
		return usagef("--scope: %w", err)
	}
	if err := token.CheckName(name); err != nil {
		return usagef("%w", err)
	}
	if ttl < 0 {
		return usagef("--ttl %v: say how long from now, such as 720h", ttl)
	}
	text, entry, err := token.Create(file, name, scope, ttl, t.seam)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(t.out, text); err != nil {
		return fmt.Errorf("the token %s was made, and could not be printed: `tally token revoke %s`, and make another: %w", name, name, err)
	}
	fmt.Fprintf(t.err, "The token %s of the scope %s is good %s. It is in no file, only its hash is in %s: copy that to each node's --tokens.\n",
		entry.Name, entry.Scope, goodUntil(entry), file)
	return nil
}

func goodUntil(e token.Entry) string {
	if e.ExpiresMs == 0 {
		return "until it is revoked"
	}
	return "until " + formatTime(e.ExpiresMs)
}

func formatTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func newCmdTokenList(t *tool) *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the tokens of a file, without themselves", Example: "  tally token list --json",
		Args: argsOf(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return runTokenList(t, file, asJSON) },
	}
	addTokensFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listed is a token as the list shows it.
type listed struct {
	Name      string      `json:"name"`
	Scope     token.Scope `json:"scope"`
	CreatedMs int64       `json:"created_ms"`
	ExpiresMs int64       `json:"expires_ms,omitempty"`
	Expired   bool        `json:"expired"`
}

func runTokenList(t *tool, file string, asJSON bool) error {
	entries, err := token.List(file)
	if err != nil {
		return err
	}
	tokens := []listed{}
	for _, e := range entries {
		tokens = append(tokens, listed{e.Name, e.Scope, e.CreatedMs, e.ExpiresMs, e.Expired(t.seam.Now())})
	}
	if asJSON {
		return printJSON(t.out, tokens)
	}
	tw := table(t.out)
	fmt.Fprintln(tw, "TOKEN\tSCOPE\tCREATED\tGOOD")
	for i, e := range entries {
		good := goodUntil(e)
		if tokens[i].Expired {
			good = strings.Replace(good, "until", "no more since", 1)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", e.Name, e.Scope, formatTime(e.CreatedMs), good)
	}
	return tw.Flush()
}

func newCmdTokenRevoke(t *tool) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "revoke NAME", Short: "Take a token out of a file", Example: "  tally token revoke ann",
		Args: names(1),
		RunE: func(_ *cobra.Command, args []string) error { return token.Revoke(file, args[0]) },
	}
	addTokensFlag(cmd, &file)
	return cmd
}
