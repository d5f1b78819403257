package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/certs"
)

const defaultServer = "http://127.0.0.1:7400"

// serverFlags say which node a command asks, and how it is known there.
type serverFlags struct {
	server string
	token  secret
	ca     string
}

func (f *serverFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.server, "server", defaultServer, "`URL` of the node to ask")
	fl.Var(&f.token, "token", "`TOKEN` of `tally token create`, or @FILE that holds it, for a node that wants one")
	fl.StringVar(&f.ca, "ca", "", "trust the certificates of the authority in this `FILE` (the cluster's ca.crt)")
}

func (f *serverFlags) client(t *tool) (*api.Client, error) {
	token, err := f.token.read()
	if err != nil {
		return nil, err
	}
	options := []api.ClientOption{api.WithToken(token)}
	if f.ca != "" {
		pool, err := certs.Pool(f.ca)
		if err != nil {
			return nil, usagef("--ca: %w", err)
		}
		options = append(options, api.WithCA(pool))
	}
	client, err := api.NewClient(f.server, t.seam, options...)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return client, nil
}

// secret is a flag that is never printed, by `tally config print` either.
type secret struct{ text string }

func (s *secret) Set(text string) error { s.text = text; return nil }
func (s *secret) Type() string          { return "secret" }

func (s *secret) String() string {
	if s.text == "" || strings.HasPrefix(s.text, "@") {
		return s.text
	}
	return "(not shown)"
}

// read is the secret itself: the text, or what the file holds that it names.
func (s *secret) read() (string, error) {
	if s.text == "" {
		return "", nil
	}
	text, from := s.text, "what was said"
	if path, isFile := strings.CutPrefix(s.text, "@"); isFile {
		read, err := os.ReadFile(path)
		if err != nil {
			return "", usagef("--token: %w", err)
		}
		text, from = string(read), path
	}
	token := strings.TrimSpace(text) // a secret's file, or an environment made of one, ends in a line end
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usagef("--token: %s does not hold one token, and nothing else", from)
	}
	return token, nil
}
