package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/internal/seam"
)

// tool is the outside world of a command.
type tool struct {
	in                    io.Reader
	out, err              io.Writer
	inTTY, outTTY, errTTY bool
	getenv                func(string) string
	seam                  seam.Seam
	failpoints            func(*node.Config) // of a build for tests, whose nodes can be held and broken; nil: none
}

// execute runs one command line and gives its exit code.
func (t *tool) execute(ctx context.Context, args []string) int {
	root := newCmdRoot(t)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	code := exitCode(err)
	if err != nil && err.Error() != "" {
		fmt.Fprintf(t.err, "tally: %s\n", shownLines(err.Error())) // it may have what a node says
	}
	return code
}

// newLogger writes to stderr, so that stdout is the command's answer alone.
func (t *tool) newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q is none: say debug, info, warn or error", level)
	}
	opt := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(t.err, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(t.err, opt)), nil
	}
	return nil, usagef("--log-format %q is none: say text or json", format)
}

// flagError names the flag that is wrong and what would work.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usagef("%v (see `%s --help`)", err, cmd.CommandPath())
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, "--"+f.Name)
		}
	})
	name := unknown.GetSpecifiedName()
	if near := nearest(name, known); near != "" {
		return usagef("`%s` has no flag %s: did you mean %s?", cmd.CommandPath(), dashed(name), near)
	}
	return usagef("`%s` has no flag %s: it has %s", cmd.CommandPath(), dashed(name), strings.Join(known, ", "))
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// nearest is the known name at an edit distance of at most 2, or that name is the beginning of.
func nearest(name string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		bare := strings.TrimPrefix(k, "--")
		d := distance(name, bare)
		if len(name) >= 3 && strings.HasPrefix(bare, name) {
			d = 1
		}
		if d < bestDistance && d < len(name) {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the number of characters to insert, remove or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
