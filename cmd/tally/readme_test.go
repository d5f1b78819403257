package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^```sh[^\n]*\n(.*?)^```")
	shellWord  = regexp.MustCompile(`(?:[^\s'"]|'[^']*'|"[^"]*")+`)
	localPort  = regexp.MustCompile(`127\.0\.0\.1:(\d+)`)
)

// readCommands finds the command lines of tally in a block of shell, with their flags parsed.
func readCommands(t *testing.T, block string) (found []*cobra.Command) {
	t.Helper()
	block = strings.NewReplacer("\\\n", " ", "$n", "1", "$J", "127.0.0.1:7401").Replace(block)
	for line := range strings.Lines(block) {
		for _, part := range strings.Split(line, "./bin/tally ")[1:] {
			args := []string{}
			for _, word := range shellWord.FindAllString(part, -1) {
				if strings.ContainsAny(word[:1], "|&;<>#)") {
					break
				}
				args = append(args, strings.Trim(word, `'"`))
			}
			cmd, rest, err := newCmdRoot(testTool()).Find(args)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err != nil {
				t.Errorf("tally %s: %v", strings.TrimSpace(part), err)
				continue
			}
			found = append(found, cmd)
		}
	}
	return found
}

// The command lines of the README are ones that the commands take, and where a block starts a
// broker its nodes look for that one.
func TestReadmeCommandLines(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		port, brokers := "", ""
		for _, cmd := range readCommands(t, block[1]) {
			n++
			if cmd.Name() == "broker" {
				port = cmd.Flag("port").Value.String()
			} else if f := cmd.Flag("brokers"); f != nil {
				brokers += f.Value.String()
			}
		}
		for _, at := range localPort.FindAllStringSubmatch(brokers, -1) {
			if port != "" && at[1] != port {
				t.Errorf("a broker at port %s (0: any), and --brokers %s, in\n%s", port, at[0], block[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d command lines found", n)
	}
}
