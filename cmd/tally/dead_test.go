package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tally-kafka/tally/internal/dead"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestDeadCommands runs them against a Kafka in memory with two dead letters.
func TestDeadCommands(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "orders.dead", "none.dead"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	letter := func(key, value []byte, reason string, offset int) kafka.Record {
		r := kafka.Record{Topic: "orders.dead", TimestampMs: 1795393111000, Key: key, Value: value,
			Headers: []kafka.Header{{Key: "trace", Value: []byte{0xff}}}}
		for _, h := range [][2]string{{"error", reason}, {"topic", "in"}, {"partition", "0"}, {"offset", fmt.Sprint(offset)},
			{"timestamp", "1795393000123"}, {"tally.generation", "1"}} {
			r.Headers = append(r.Headers, kafka.Header{Key: h[0], Value: []byte(h[1])})
		}
		return r
	}
	if _, err := kafka.Send(t.Context(), cfg, 1<<20, slices.Values([]kafka.Record{
		{Topic: "in", Value: []byte("event 0")}, {Topic: "in", Value: []byte("event 1")},
		letter([]byte("user-1"), []byte("{\x1b[2J"), "not JSON", 0), letter(nil, nil, "empty", 1),
	})); err != nil {
		t.Fatal(err)
	}
	run := func(line string) string {
		return runScript(t, line+" --brokers "+c.ListenAddrs()[0], "lines", nil)
	}
	for _, step := range []struct{ line, want string }{
		{"dead list --app orders", "LETTER  EVENT   KEY     ERROR\n0:0     in/0:0  user-1  not JSON\n0:1     in/0:1  null    empty\nexit 0\n"},
		{"dead list --app orders --limit 1 --json", `{"partition":0,"offset":0,"written_ms":1795393111000,"error":"not JSON","topic":"in",` +
			`"source_partition":0,"source_offset":0,"event_ms":1795393000123,"generation":"1","key":"user-1","value_bytes":5,` +
			`"headers":[{"key":"trace","value":{"b64":"/w=="}}]}` + "\n! there are more: say --limit N, or --limit 0 for all\nexit 0\n"},
		{"dead list --app none", "! none.dead holds no dead letters\nexit 0\n"},
		{"dead show 0:0 --app orders", "error         not JSON\nevent         in/0:0\nevent time    2026-11-23T00:16:40.123Z\n" +
			"written       2026-11-23T00:18:31.000Z\nkey           user-1\nheader trace  \"\\xff\"\nvalue         \"{\\x1b[2J\"\nexit 0\n"},
		{"dead show 0:0 --app orders --raw", "{\x1b[2Jexit 0\n"},
		{"dead show 0:9 --app orders", "! tally: there is no dead letter 0:9: partition 0 of orders.dead has offsets 0 to 1; see `tally dead list`\nexit 1\n"},
		{"dead replay --app orders --all", "! tally: --all asks at a terminal, and not with --json: say --yes, or --dry-run to see how many\nexit 2\n"},
		{"dead replay --app orders --all --dry-run", "would replay 2 of 2 dead letters\nexit 0\n"},
		{"dead replay --app orders --where-error JSON", "replayed 1 of 1 dead letters\nexit 0\n"},
		{"dead replay --app orders --all --yes --json", "{\"chosen\":2,\"replayed_before\":1,\"unsure\":0,\"sent\":1}\n" +
			"! 1 were replayed before and are left out (the first: 0:0); --again sends them once more\nexit 0\n"},
	} {
		if got := run(step.line); got != step.want {
			t.Errorf("%s\n got %s\nwant %s", step.line, got, step.want)
		}
	}
	if got := run("dead show 0:1 --app orders --json"); !strings.Contains(got, `"value":null`) {
		t.Error(got)
	}
}

// However many dead letters are listed, no more are held than are aligned together.
func TestDeadListHoldsFew(t *testing.T) {
	const letters = 3*alignRows + 1
	var out bytes.Buffer
	n, more, err := deadListOptions{}.print(&out, func(fn func(dead.Letter) error) error {
		for i := range letters {
			if err := fn(dead.Letter{Place: dead.Place{Offset: int64(i)}}); err != nil {
				return err
			}
			if rows := strings.Count(out.String(), "\n") - 1; i+1-max(rows, 0) >= alignRows {
				t.Fatalf("%d rows are written of %d letters", rows, i+1)
			}
		}
		return nil
	})
	if err != nil || more || n != letters || strings.Count(out.String(), "\n") != letters+1 {
		t.Errorf("%d letters, more %v, %v: %d lines", n, more, err, strings.Count(out.String(), "\n"))
	}
}
