package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

func fakeBroker(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// The exit code tells of errors, and with --strict of warnings.
func TestDoctorExits(t *testing.T) {
	dir := t.TempDir()
	nothing := filepath.Join(dir, "nothing") // so that this machine's disk has no say
	file := filepath.Join(dir, "wordcount.yaml")
	writeFile(t, file, cannedSpec+"output: {topic: output_event}\n")
	warns := kfake.BrokerConfigs(map[string]string{"offsets.retention.minutes": "60"})
	for _, c := range []struct {
		what, args string
		opts       []kfake.Opt
		code       int
		says       string
	}{
		{"only the cluster", "", nil, 0, "no app was named"},
		{"an input", "--strict --spec " + file, []kfake.Opt{kfake.SeedTopics(2, "input_event")}, 0, "changelog wordcount.changelog"},
		{"no input", "--spec " + file, nil, 4, "error    input input_event"},
		{"a warning", "", []kfake.Opt{warns}, 0, "0 errors, 1 warning"},
		{"a warning, strictly", "--strict", []kfake.Opt{warns}, 4, "0 errors, 1 warning"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := runScript(t, fmt.Sprintf("doctor --brokers %s --data-dir %s %s", fakeBroker(t, c.opts...), nothing, c.args), "", nil)
			if !strings.HasSuffix(got, fmt.Sprintf("exit %d\n", c.code)) || !strings.Contains(got, c.says) {
				t.Errorf("want exit %d and %q:\n%s", c.code, c.says, got)
			}
			if strings.Contains(got, "! ") {
				t.Errorf("the report goes to stdout, and nothing to stderr:\n%s", got)
			}
		})
	}
}

func TestDoctorJSON(t *testing.T) {
	got := runScript(t, "doctor --json --brokers "+fakeBroker(t), "", nil)
	var report struct {
		Checks           []struct{ Name, Result, Found, Why, Mend string }
		Errors, Warnings *int
	}
	line, _, _ := strings.Cut(got, "\n")
	if err := json.Unmarshal([]byte(line), &report); err != nil || len(report.Checks) < 8 || report.Errors == nil || report.Warnings == nil {
		t.Errorf("%v: %s", err, got)
	}
}

// Without --brokers the node says them, and its apps.
func TestDoctorAsksTheNode(t *testing.T) {
	node := nodeAt(t, fakeBroker(t, kfake.SeedTopics(2, "input_event")))
	for _, args := range []string{"", "--app wordcount"} {
		got := runScript(t, "doctor --server "+node+" "+args, "", nil)
		for _, says := range []string{"input input_event", "lane 1 is stopped: the consumer group has offset 9",
			"counts on the Kafka cluster k1", "exit 4"} {
			if !strings.Contains(got, says) {
				t.Errorf("doctor %s lacks %q:\n%s", args, says, got)
			}
		}
	}
	// What the settings of a node say of specs does not choose between its apps.
	settings := map[string]string{"TALLY_SPEC": "a.yaml,b.yaml"}
	if got := runScript(t, "doctor --app wordcount --server "+node, "", settings); !strings.Contains(got, "input input_event") {
		t.Error(got)
	}
	got := runScript(t, "doctor --app letters --server "+node, "", nil)
	if !strings.Contains(got, `has no app "letters"`) || !strings.HasSuffix(got, "exit 1\n") {
		t.Error(got)
	}
}

func TestDoctorWithNobodyThere(t *testing.T) {
	t.Parallel()
	const addr = "127.0.0.1:1" // which no other test can get
	for args, says := range map[string]string{
		"--server http://" + addr:        "no node answers at",
		"--brokers " + addr:              "no broker answers",
		"--app a --spec b":               "exclude each other",
		"--spec /nothing":                "read the spec",
		"--brokers a --kafka-config /no": "no such file",
	} {
		code := 2
		if strings.Contains(args, addr) {
			code = 1
		}
		got := runScript(t, "doctor "+args, "", nil)
		if !strings.Contains(got, says) || !strings.HasSuffix(got, fmt.Sprintf("exit %d\n", code)) {
			t.Errorf("%s: %s", args, got)
		}
	}
}
