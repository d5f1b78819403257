package chaos

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// suite is what all tests share: one Kafka, one binary, one seed.
type suite struct {
	cluster  *testkafka.Cluster
	replicas int // of each topic
	kafka    kafka.Config
	admin    *kafka.Admin
	bin      string
	dir      string
	proof    bool // the long run
	seed     uint64
}

// TestCrashProof holds the whole suite, since its tests share a broker. Those that do something to
// the broker have it for themselves, one after another; the others come after them, two at a time,
// since most of a test's time is waiting.
func TestCrashProof(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: it runs real processes for a minute")
	}
	s := newSuite(t, 1, testkafka.Options{Proxy: true, Props: map[string]string{
		"log.cleaner.backoff.ms": "300", // so that a test sees a compaction
	}})
	for _, test := range []struct {
		name  string
		alone bool
		run   func(*testing.T, *suite)
	}{
		{"OlderTransactions", true, testOlderTransactions},
		{"BrokerFrozen", true, testBrokerFrozen},
		{"BrokerKilled", true, testBrokerKilled},
		{"RandomKills", false, testRandomKills},
		{"Steps", false, testSteps},
		{"TwoStages", false, testTwoStages},
		{"EndTxn", false, testEndTxn},
		{"PausedOwner", false, testPausedOwner},
		{"StopsUnderLoad", false, testStopsUnderLoad},
		{"FirstStart", false, testFirstStart},
		{"FencedSession", false, testFencedSession},
		{"TransactionTimeout", false, testTransactionTimeout},
		{"EmitEvery", false, testEmitEvery},
		{"SumsOfJSON", false, testSumsOfJSON},
		{"StartLatest", false, testStartLatest},
		{"StopAtUnreadable", false, testStopAtUnreadable},
		{"RefusedRecords", false, testRefusedRecords},
		{"TransactionalInput", false, testTransactionalInput},
		{"GrownInput", false, testGrownInput},
		{"CompactedChangelog", false, testCompactedChangelog},
		{"GroupOffsets", false, testGroupOffsets},
		{"DiskFills", false, testDiskFills},
		{"Checks", false, testChecks},
	} {
		if test.name == "TransactionTimeout" && !s.proof {
			continue // it waits for half a minute: part of the long run alone
		}
		t.Run(test.name, func(t *testing.T) {
			if !test.alone {
				t.Parallel()
			}
			began := time.Now()
			test.run(t, s)
			t.Logf("took %.1f s", time.Since(began).Seconds())
		})
	}
}

func newSuite(t *testing.T, replicas int, opt testkafka.Options) *suite {
	s := &suite{replicas: replicas, dir: t.TempDir(), proof: os.Getenv("TALLY_PROOF") != "", seed: chooseSeed(t)}
	t.Logf("CHAOS_SEED=%d", s.seed)
	built := make(chan error, 1)
	go func() { built <- s.build() }()
	s.cluster = testkafka.Start(t, opt)
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	s.kafka = kafka.Config{Brokers: s.cluster.Addrs(), ClientID: "chaos", Seam: seam.World()}
	var err error
	if s.admin, err = kafka.NewAdmin(s.kafka); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.admin.Close)
	return s
}

func chooseSeed(t *testing.T) uint64 {
	text := os.Getenv("CHAOS_SEED")
	if text == "" {
		return rand.Uint64N(1_000_000)
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("CHAOS_SEED: %v", err)
	}
	return seed
}

// rand is the randomness of one test, so that a test repeats whichever others run.
func (s *suite) rand(t testing.TB) *rand.Rand {
	var h uint64
	for _, c := range []byte(t.Name()) {
		h = h*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(s.seed, h))
}

// build makes the binary with failpoints. Everything else in it is what users run.
func (s *suite) build() error {
	s.bin = filepath.Join(s.dir, "tally")
	cmd := exec.Command("go", "build", "-pgo=off", "-tags", "failpoint", "-ldflags=-s -w", "-o", s.bin, "../../cmd/tally")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &buildError{string(out)}
	}
	return nil
}

type buildError struct{ out string }

func (e *buildError) Error() string { return "go build of the binary under test:\n" + e.out }

// eventually polls until look is content; what says what was waited for, with look's last reason.
func eventually(t testing.TB, within time.Duration, what string, look func() (missing string)) {
	t.Helper()
	end := time.After(within)
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		missing := look()
		if missing == "" {
			return
		}
		select {
		case <-pause.C:
		case <-end:
			t.Fatalf("waited %s until %s: %s", within, what, missing)
		}
	}
}

// ctxOf bounds all calls of a test.
func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func lines(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") }
