package session

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/seam/seamtest"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TestSuspended: on a machine that was suspended the monotonic clock has stood still. A member's
// word is old all the same when the machine goes on, and a leader doubts whether it leads.
func TestSuspended(t *testing.T) {
	now := time.Now()
	s := seam.World()
	s.Now = func() time.Time { return now }
	m := NewMember(MemberConfig{Seam: s, Log: slog.New(slog.DiscardHandler)})
	if _, err := m.answered(Answer{Term: 1, Known: true}, now); err != nil || !m.Renewed() {
		t.Fatalf("the leader's word is not taken: %v", err)
	}
	table := NewTable(TableConfig{
		ID: "a", Seam: s, Log: slog.New(slog.DiscardHandler),
		State: func() *ownership.State { return &ownership.State{} },
		Leads: func(context.Context) error { return nil },
	})
	table.turn, table.tick = now, table.cfg.Tick
	if table.doubtful(now) {
		t.Fatal("a leader doubts without a reason")
	}
	now = seamtest.WallAhead(now, 10*time.Second)
	if m.Renewed() {
		t.Error("a member goes by a word of before the machine was suspended")
	}
	if !table.doubtful(now) {
		t.Error("a leader vouches for others though its machine was suspended")
	}
}
