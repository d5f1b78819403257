package node

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tally-kafka/tally/internal/seam"
)

// An answer that Kafka owes is why a node that starts is not ready yet; one that runs stays so.
func TestReadyAfterATrouble(t *testing.T) {
	for up, want := range map[bool]string{false: "Kafka does not answer: COORDINATOR_NOT_AVAILABLE: The coordinator is not available.", true: ""} {
		n := &Node{cfg: Config{Seam: seam.World(), Log: slog.New(slog.DiscardHandler)}.withDefaults(), up: up}
		tries := 0
		err := n.patiently(t.Context(), time.Second, func(context.Context) error {
			if tries++; tries == 1 {
				return kerr.CoordinatorNotAvailable
			}
			return nil
		})
		if err != nil || tries != 2 || n.waiting != want {
			t.Errorf("up %t: %v after %d tries, and it waits: %q", up, err, tries, n.waiting)
		}
	}
}
