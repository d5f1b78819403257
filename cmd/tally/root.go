package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of commands in the help.
const (
	groupRun     = "run"
	groupAsk     = "ask"
	groupOperate = "operate"
	groupCheck   = "check"
)

const rootLong = `tally keeps exactly-once running counts of what arrives on Kafka topics.

Every flag can also be set as an environment variable (--data-dir is TALLY_DATA_DIR) or as a
key of a YAML file (data-dir: ...) given by --config FILE. A flag wins over the environment, that
over the file, and that over the default; ` + "`tally config print`" + ` shows which it was.

Exit codes: 0 done; 1 failed; 2 usage or bad spec; 3 the asked group has no values;
4 the audit found a difference or doctor an error; 5 fenced by another node; 6 the audit could not
decide.`

const rootExample = `  tally init wordcount > wordcount.yaml
  tally run --spec wordcount.yaml
  echo 'user-1:Spark and Kafka' | tally produce --topic input_event --key-delimiter :
  tally get user-1 spark
  tally top`

func newCmdRoot(t *tool) *cobra.Command {
	root := &cobra.Command{
		Use:           "tally",
		Short:         "Exactly-once running counts on Kafka",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return t.applySettings(cmd) },
	}
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().String("config", "", "YAML `FILE` with flags as keys")
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupAsk, Title: "Ask:"}, &cobra.Group{ID: groupOperate, Title: "Operate:"},
		&cobra.Group{ID: groupCheck, Title: "Check:"})
	addGroup(root, groupRun, newCmdRun(t), newCmdInit(t), newCmdCheck(t), newCmdDemo(t), newCmdBroker(t),
		newCmdSubmit(t), newCmdDelete(t), newCmdReset(t))
	addGroup(root, groupAsk, newCmdGet(t), newCmdTop(t), newCmdScan(t), newCmdWatch(t), newCmdProduce(t), newCmdConsume(t))
	addGroup(root, groupOperate, newCmdStatus(t), newCmdApps(t), newCmdDrain(t), newCmdMove(t), newCmdNode(t), newCmdCerts(t), newCmdToken(t),
		newCmdConfig(t), newCmdVersion(t))
	addGroup(root, groupCheck, newCmdAudit(t), newCmdDoctor(t), newCmdDead(t))
	root.SetCompletionCommandGroupID(groupOperate)
	root.SetHelpCommandGroupID(groupOperate)
	return root
}

func addGroup(root *cobra.Command, group string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = group
		root.AddCommand(c)
	}
}

func unknownCommand(parent *cobra.Command, name string) error {
	var known []string
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	if near := nearest(name, known); near != "" {
		return usagef("there is no command %q: did you mean `%s %s`?", name, parent.CommandPath(), near)
	}
	return usagef("there is no command %q: there is %s", name, strings.Join(known, ", "))
}

// names is ExactArgs of names that cannot be empty, as a variable of a script may be, and no more
// can what a flag says.
func names(n int) cobra.PositionalArgs {
	return argsOf(func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return err
		}
		if i := slices.Index(args, ""); i >= 0 {
			return fmt.Errorf("argument %d is empty", i+1)
		}
		return saidEmpty(cmd)
	})
}

// argsOf makes cobra's check of the number of arguments a usage error that shows the usage.
func argsOf(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%v: %s", err, cmd.UseLine())
		}
		return nil
	}
}
