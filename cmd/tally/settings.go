package main

import (
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A flag's value comes from the command line, else from its environment variable, else from the
// config file, else from its default. sourceAnnotation remembers which it was, on the flag.
const sourceAnnotation = "tally-source"

// notSettable are flags that only make sense on a command line.
var notSettable = []string{"help", "config"}

func envName(flag string) string {
	return "TALLY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applySettings fills the flags that the command line left open.
func (t *tool) applySettings(cmd *cobra.Command) error {
	file, path, err := t.readSettings(cmd)
	if err != nil {
		return err
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if failed == nil && !f.Changed && !slices.Contains(notSettable, f.Name) {
			failed = t.applySetting(cmd, f, file, path)
		}
	})
	return failed
}

func (t *tool) applySetting(cmd *cobra.Command, f *pflag.Flag, file map[string]settingValue, path string) error {
	var values []string
	var source string
	if v := t.getenv(envName(f.Name)); v != "" {
		values, source = []string{v}, envName(f.Name)
	} else if v, ok := file[f.Name]; ok {
		values, source = v, path
		if v == nil { // "zone:" without a value
			values = []string{""}
		}
	} else {
		return nil
	}
	for _, v := range values {
		if err := cmd.Flags().Set(f.Name, v); err != nil {
			return usagef("%s from %s: %v", f.Name, source, err)
		}
	}
	f.Annotations = map[string][]string{sourceAnnotation: {source}}
	return nil
}

// sourceOf says where a flag's value came from.
func sourceOf(f *pflag.Flag) string {
	if source := f.Annotations[sourceAnnotation]; len(source) == 1 {
		return source[0]
	}
	if f.Changed {
		return "flag"
	}
	return "default"
}

// readSettings reads the config file, if one is said, and checks that every key is some command's
// flag: a misspelled setting must not be silently without effect.
func (t *tool) readSettings(cmd *cobra.Command) (map[string]settingValue, string, error) {
	path := cmd.Flag("config").Value.String()
	if path == "" {
		path = t.getenv(envName("config"))
	}
	if path == "" {
		return nil, "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", usagef("--config: %v", err)
	}
	var file map[string]settingValue
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, "", usagef("--config %s: %v", path, strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	known := settableFlags(cmd.Root())
	for key := range file {
		if slices.Contains(known, key) {
			continue
		}
		if near := nearest(key, known); near != "" {
			return nil, "", usagef("--config %s: there is no flag %q: did you mean %q?", path, key, near)
		}
		return nil, "", usagef("--config %s: there is no flag %q; the keys are the names of flags: %s",
			path, key, strings.Join(known, ", "))
	}
	return file, path, nil
}

// settableFlags are the names of all flags of all commands, sorted.
func settableFlags(root *cobra.Command) []string {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, settableFlags(c)...)
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(notSettable, f.Name) && !f.Hidden {
				names = append(names, f.Name)
			}
		})
	}
	slices.Sort(names)
	return slices.Compact(names)
}
