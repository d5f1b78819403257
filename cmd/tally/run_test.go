package main

import (
	"bytes"
	"context"
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
