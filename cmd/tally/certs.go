package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/certs"
)

type certsOptions struct {
	nodes []string
	life  time.Duration
	renew bool
}

func newCmdCerts(t *tool) *cobra.Command {
	var opt certsOptions
	cmd := &cobra.Command{
		Use:   "certs DIR",
		Short: "Make the certificates by which nodes know each other",
		Long: `Make a certificate authority in DIR, unless it is there, and for each node a directory in DIR with
the three files that belong on that node. HOST is the name or IP address at which others reach it; say
a node twice for two of them. localhost and 127.0.0.1 are always among them.

Later nodes are added by the same command. An authority is never overwritten, and a node's files only
with --renew; a node that runs takes renewed files within seconds, without a restart.`,
		Example: `  tally certs certs --nodes a=10.0.0.1,b=10.0.0.2,c=c.example
  tally certs certs --nodes d=10.0.0.4,d=d.example
  tally certs certs --nodes a=10.0.0.1 --renew`,
		Args: argsOf(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return runCerts(t, args[0], opt) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&opt.nodes, "nodes", nil, "`NAME=HOST,...` of the nodes to make certificates for")
	fl.DurationVar(&opt.life, "life", certs.NodeLife, "how long the nodes' certificates are good; the authority's is for 10 years")
	fl.BoolVar(&opt.renew, "renew", false, "make the files of nodes that have some anew")
	return cmd
}

func runCerts(t *tool, dir string, opt certsOptions) error {
	nodes, err := parseNodes(opt.nodes)
	if err != nil {
		return err
	}
	if opt.life < time.Hour {
		return usagef("--life %v: at least 1h", opt.life)
	}
	made, err := certs.Make(dir, nodes, certs.MakeOptions{Seam: t.seam, Life: opt.life, Renew: opt.renew})
	if err != nil {
		return err
	}
	if made.NewCA {
		fmt.Fprintf(t.out, "%s: the authority's key. It makes certificates, and whoever has it can make a node: keep it off the nodes.\n",
			filepath.Join(dir, certs.CAKeyFile))
		fmt.Fprintf(t.out, "%s: its certificate. It is no secret: commands take it with --ca.\n", filepath.Join(dir, certs.CAFile))
	}
	for i, n := range nodes {
		fmt.Fprintf(t.out, "%s: copy it to node %s (%s), and start that with --certs and where you put it.\n",
			made.Dirs[i], n.Name, strings.Join(n.Hosts, ", "))
	}
	fmt.Fprintf(t.out, "The nodes' certificates are good until %s.\n", made.Until.UTC().Format("2006-01-02"))
	return nil
}

// parseNodes reads NAME=HOST; a name that comes twice has two hosts.
func parseNodes(texts []string) ([]certs.Node, error) {
	if len(texts) == 0 {
		return nil, usagef("--nodes is missing: say for example --nodes a=10.0.0.1,b=10.0.0.2")
	}
	var nodes []certs.Node
	at := map[string]int{}
	for _, text := range texts {
		name, host, ok := strings.Cut(text, "=")
		if !ok || name == "" || host == "" {
			return nil, usagef("--nodes %q is not NAME=HOST: say for example a=10.0.0.1", text)
		}
		i, known := at[name]
		if !known {
			i = len(nodes)
			at[name] = i
			nodes = append(nodes, certs.Node{Name: name})
		}
		nodes[i].Hosts = append(nodes[i].Hosts, host)
	}
	for _, n := range nodes {
		if err := n.Check(); err != nil {
			return nil, usagef("--nodes: %w", err)
		}
	}
	return nodes, nil
}
