package measure

import (
	"context"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Pace calls send for each event at the moment at which it is due, rate a second for d, and says
// that moment. It never slows down: after a stall all that was due meanwhile goes out at once, with
// the moments at which it was due. It returns how many there were.
func Pace(ctx context.Context, sm seam.Seam, rate int, d time.Duration, send func(due time.Time)) (int, error) {
	start, total := sm.Now(), int(d.Seconds()*float64(rate))
	for sent := 0; sent < total; {
		now := sm.Since(start)
		for sent < total {
			at := time.Duration(sent) * time.Second / time.Duration(rate)
			if at > now {
				break
			}
			send(start.Add(at))
			sent++
		}
		if sent == total {
			break
		}
		// A millisecond is as finely as a record's timestamp tells.
		next := time.Duration(sent) * time.Second / time.Duration(rate)
		if err := sm.Sleep(ctx, max(next-sm.Since(start), time.Millisecond)); err != nil {
			return sent, err
		}
	}
	return total, nil
}
