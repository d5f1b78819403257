package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// nodeAt is the URL of a node that counts words on a Kafka.
func nodeAt(t *testing.T, broker string) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/apps", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"apps":[{"app":"wordcount","spec":%q}]}`, cannedSpec)
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.ReplaceAll(cannedStatus, "127.0.0.1:9092", broker))
	})
	node := httptest.NewServer(mux)
	t.Cleanup(node.Close)
	return node.URL
}

// The Kafka that the user names, with a file or the environment too, is the one that is written and
// read, whatever the node counts on; the node is asked only where none is named.
func TestNamedBrokersWin(t *testing.T) {
	t.Parallel()
	topics := kfake.SeedTopics(1, "t", "wordcount.dead")
	ofNode, named := fakeBroker(t, topics), fakeBroker(t, topics)
	file := filepath.Join(t.TempDir(), "client.properties")
	writeFile(t, file, "bootstrap.servers="+named+"\n")
	secure := filepath.Join(t.TempDir(), "secure.properties")
	writeFile(t, secure, "client.id=me\n")
	env := map[string]string{"TALLY_SERVER": nodeAt(t, ofNode)}
	records := func(broker string) int64 {
		admin, err := kafka.NewAdmin(kafka.Config{Brokers: []string{broker}, Seam: seam.World()})
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		ends, err := admin.EndOffsets(t.Context(), "t", true)
		if err != nil {
			t.Fatal(err)
		}
		return ends[0]
	}
	const inEnv = "TALLY_KAFKA_BOOTSTRAP_SERVERS"
	for _, c := range []struct {
		what, flags, env string
		node, named      int64 // records there, afterwards
	}{
		{"a file", "--kafka-config " + file, "", 0, 1},
		{"the environment", "", named, 0, 2},
		{"a flag, over the environment", "--brokers " + named, ofNode, 0, 3},
		{"a file that names none", "--kafka-config " + secure, "", 1, 3},
		{"nothing", "", "", 2, 3},
	} {
		env[inEnv] = c.env
		got := runScript(t, "produce --topic t --key-delimiter : "+c.flags, "k:v", env)
		if atNode, atNamed := records(ofNode), records(named); !strings.HasSuffix(got, "exit 0\n") || atNode != c.node || atNamed != c.named {
			t.Errorf("%s: %d records at the node's Kafka and %d at the other, not %d and %d:\n%s", c.what, atNode, atNamed, c.node, c.named, got)
		}
	}
	env[inEnv] = ""
	if got := runScript(t, "consume --topic t --from-start --limit 3 --kafka-config "+file, "", env); strings.Count(got, "k\tv\n") != 3 {
		t.Errorf("consume: %s", got)
	}
	env["TALLY_SERVER"] = "http://127.0.0.1:1" // where nobody answers
	if got := runScript(t, "dead list --app wordcount --kafka-config "+file, "", env); got != "! wordcount.dead holds no dead letters\nexit 0\n" {
		t.Errorf("dead list: %s", got)
	}
}
