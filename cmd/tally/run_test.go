package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestRunSaysStandbys: `tally run --standbys` is for new apps, and says so of one that has another
// number; where nobody has said a number, none is missed.
func TestRunSaysStandbys(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, dir := l.Addr().String(), t.TempDir()
	l.Close()
	writeFile(t, dir+"/wc.yaml", "app: wc\ninput: {topic: in}\ngroup: [key]\n")
	line := fmt.Sprintf("run --spec %s/wc.yaml --brokers %s --listen %s --node a --data-dir %s/data --create-topics 2",
		dir, cluster.ListenAddrs()[0], addr, dir)
	said := "app wc keeps 0; to give it 2, run `tally submit --standbys 2 FILE`"
	for _, c := range []struct {
		flag string
		says bool
	}{{" --standbys 0", false}, {"", false}, {" --standbys 2", true}} {
		if got := runUntilReady(t, line+c.flag, "http://"+addr); strings.Contains(got, said) != c.says {
			t.Errorf("run%s: that the app keeps its number is said: %v; the log:\n%s", c.flag, !c.says, got)
		}
	}
}

// TestRunNames: what cannot be the name of a node or a zone is refused before anything is opened,
// as is a host's name where no other is said.
func TestRunNames(t *testing.T) {
	long := strings.Repeat("n", 101)
	over, cancel := context.WithCancel(t.Context()) // a node that is let pass ends at once
	cancel()
	for _, flag := range []string{"node", "zone"} {
		for _, bad := range []string{"x\ty\nz\x1b[31mRED", "..", ".", "-a", "_a", "a/b", "a b", "a=b", "a,b", "a\n", "\u00e4", "\xff", long} {
			tl := testTool()
			var stderr bytes.Buffer
			tl.err = &stderr
			code := tl.execute(over, []string{"run", "--node", "a", "--" + flag, bad, "--data-dir", t.TempDir() + "/none", "--brokers", "127.0.0.1:1"})
			want := fmt.Sprintf("tally: --%s %q cannot be the name of a %s: it is 1 to 100 letters (A-Z, a-z), digits, dots, dashes and underscores", flag, bad, flag)
			if code != exitUsage || !strings.HasPrefix(stderr.String(), want) {
				t.Errorf("exit %d, %q, not %q", code, stderr.String(), want)
			}
		}
	}
	for _, c := range []struct {
		said, host string
		err        error
		want, says string
	}{
		{said: "node-1.example_b", host: "h", want: "node-1.example_b"},
		{said: long[1:], want: long[1:]},
		{host: "machine-7.example", want: "machine-7.example"},
		{host: "(none)", says: `the host's name "(none)" cannot be the name of a node, which is 1 to 100 letters`},
		{said: "a", host: "(none)", want: "a"},
		{host: "", says: "say --node NAME"},
		{err: errors.New("no uts"), says: "the host has no name (no uts): say --node NAME"},
	} {
		got, err := nodeName(c.said, func() (string, error) { return c.host, c.err })
		if got != c.want || (c.says != "") != (exitCode(err) == exitUsage) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

// runUntilReady runs a node until the lanes of its one app run, and returns what it has logged.
func runUntilReady(t *testing.T, line, server string) string {
	t.Helper()
	var logged bytes.Buffer
	tl := testTool()
	tl.err = &logged
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- tl.execute(ctx, strings.Fields(line)) }()
	client, err := api.NewClient(server, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		st, err := client.Status(t.Context())
		return err == nil && len(st.Apps) == 1 && len(st.Apps[0].Lanes) == 2 && st.Apps[0].Lanes[0].State == api.LaneRunning
	})
	cancel()
	if code := <-ended; code != 0 {
		t.Fatalf("%s: exit %d\n%s", line, code, logged.String())
	}
	return logged.String()
}
