package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func testTool() *tool {
	return &tool{in: strings.NewReader(""), inTTY: true, out: &bytes.Buffer{}, err: &bytes.Buffer{}, seam: seam.World(),
		getenv: func(string) string { return "" }}
}

type fenced struct{}

func (fenced) Error() string { return "fenced" }
func (fenced) ExitCode() int { return 5 }

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{usagef("x"), 2},
		{fmt.Errorf("run: %w", &spec.ParseError{File: "f", Line: 1, Column: 1, Msg: "m"}), 2},
		{fmt.Errorf("run: %w", errors.Join(errors.New("x"), fenced{})), 5},
		{&exitError{exitFailed, &spec.ParseError{}}, 1}, // the node's spec is not the user's
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit %d, want %d", c.err, got, c.want)
		}
	}
}

func TestInterruptedEndlessCommandsSucceed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if err := endless(ctx, context.Canceled); err == nil {
		t.Error("nobody interrupted it")
	}
	cancel()
	if err := endless(ctx, context.Canceled); err != nil {
		t.Error(err)
	}
	if err := endless(ctx, errors.New("x")); err == nil {
		t.Error("an error is an error")
	}
}

func walkCommands(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		walkCommands(sub, fn)
	}
}

// Every command has an example and, at the top, a group; every flag has a description, and none is
// called as another command's is but means another type.
func TestEveryCommandIsDescribed(t *testing.T) {
	types := map[string]string{}
	root := newCmdRoot(testTool())
	walkCommands(root, func(c *cobra.Command) {
		if c.Runnable() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if c.Short == "" || c.HasParent() && c.Parent() == root && c.GroupID == "" {
			t.Errorf("%s has no description or group", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no description", c.CommandPath(), f.Name)
			}
			if was, ok := types[f.Name]; ok && was != f.Value.Type() {
				t.Errorf("--%s is a %s and a %s: a config file has it once", f.Name, was, f.Value.Type())
			}
			types[f.Name] = f.Value.Type()
		})
	})
}

// Every flag of every command can be set by its environment variable.
func TestEveryFlagFromTheEnvironment(t *testing.T) {
	examples := map[string]string{"bool": "true", "int": "3", "duration": "3s", "string": "x", "stringSlice": "x,y", "size": "3MB", "secret": "@x"}
	walkCommands(newCmdRoot(testTool()), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" || f.Name == "config" {
				return
			}
			tl := testTool()
			value := examples[f.Value.Type()]
			tl.getenv = func(name string) string {
				if name == "TALLY_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) {
					return value
				}
				return ""
			}
			if err := c.ParseFlags(nil); err != nil {
				t.Fatal(err)
			}
			if err := tl.applySettings(c); err != nil {
				t.Fatalf("%s --%s: %v", c.CommandPath(), f.Name, err)
			}
			if got := strings.Trim(f.Value.String(), "[]"); got != value || !strings.HasPrefix(sourceOf(f), "TALLY_") {
				t.Errorf("%s --%s = %q from %s", c.CommandPath(), f.Name, got, sourceOf(f))
			}
		})
	})
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{"512MB": 512e6, "1GiB": 1 << 30, "64 kib": 64 << 10, "7B": 7, "1gb": 1e9,
		"": 0, "12": 0, "MB": 0, "-1MB": 0, "0MB": 0, "1.5GB": 0, "9999999999GB": 0, "1TB": 0} {
		var b byteSize
		if err := b.Set(text); (err == nil) != (want != 0) || int64(b) != want {
			t.Errorf("%q: %d %v", text, b, err)
		}
		if want != 0 {
			var again byteSize
			if err := again.Set(b.String()); err != nil || again != b {
				t.Errorf("%q is printed as %s", text, b.String())
			}
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"--server", "--app", "--after", "--wait"}
	for name, want := range map[string]string{"sever": "--server", "serv": "--server", "afer": "--after", "zzz": "", "x": "", "wiat": "--wait"} {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestLoggerFlags(t *testing.T) {
	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}} {
		if _, err := testTool().newLogger(bad[0], bad[1]); exitCode(err) != exitUsage {
			t.Errorf("%v: %v", bad, err)
		}
	}
	tl := testTool()
	log, err := tl.newLogger("warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("no")
	log.Warn("yes")
	if got := fmt.Sprint(tl.err); strings.Contains(got, `"no"`) || !strings.Contains(got, `"msg":"yes"`) {
		t.Error(got)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// What cannot be written is no success.
func TestOutputThatCannotBeWritten(t *testing.T) {
	node := httptest.NewServer(cannedNode())
	defer node.Close()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "spec.yaml"), cannedSpec)
	for _, line := range []string{
		"scan --server " + node.URL, "scan --json --server " + node.URL, "check " + dir + "/spec.yaml",
		"token create ann --tokens " + dir + "/tokens.json",
	} {
		tl := testTool()
		tl.out = full{}
		if code := tl.execute(t.Context(), strings.Fields(line)); code != 1 {
			t.Errorf("%s: exit %d, not 1", line, code)
		}
	}
}

// A question to a person ends with the command.
func TestQuestionIsInterrupted(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	tl := testTool()
	tl.in = r
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if yes, err := tl.saysYes(ctx); yes || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", yes, err)
	}
}

func TestLagOfTwoStages(t *testing.T) {
	parts := []api.Part{{Lag: 5, InputLag: 5}, {Lag: 7, InputLag: 5}, {Lag: 5, InputLag: 5}}
	if got := lagOf(parts); got != 7 {
		t.Errorf("lag %d", got)
	}
}
