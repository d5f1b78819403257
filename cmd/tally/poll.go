package main

import (
	"context"
	"errors"
	"time"

	"github.com/tally-kafka/tally/internal/api"
)

// pollEvery is how often a command looks whether what it has asked for has come.
const pollEvery = 50 * time.Millisecond

// overError says that what a command waits for will not come.
type overError struct{ error }

func (e *overError) Unwrap() error { return e.error }

// checkPollWait refuses a --wait of a command that polls.
func checkPollWait(wait time.Duration) error {
	if wait < 0 {
		return usagef("--wait %v: say how long, such as 1m, or 0 to look once", wait)
	}
	return nil
}

// poll asks for the status until arrived gives no error, and returns its last one when the wait is
// over, or at once when that is an overError. A status that cannot be had meanwhile is asked for
// again.
func poll(ctx context.Context, t *tool, client *api.Client, wait time.Duration, arrived func(api.Status) error) error {
	deadline := t.seam.Now().Add(wait)
	for {
		st, err := client.Status(ctx)
		if err == nil {
			err = arrived(st)
		}
		var over *overError
		if err == nil || errors.As(err, &over) || t.seam.Now().After(deadline) {
			return err
		}
		if err := t.seam.Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// ended reports whether a lane has come to its owner and ended there on an error: it runs when a
// person has mended that, and is not waited for.
func ended(l api.LaneStatus) bool {
	return (l.State == api.LaneStopped || l.State == api.LaneLost) && l.From == "" && l.Target == ""
}

// laneOf is a lane of an app; its zero value when the status has none.
func laneOf(st api.Status, app string, lane int) api.LaneStatus {
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			if a.App == app && l.Lane == lane {
				return l
			}
		}
	}
	return api.LaneStatus{}
}

func runningLanes(a api.AppStatus) (n int) {
	for _, l := range a.Lanes {
		if l.State == api.LaneRunning {
			n++
		}
	}
	return n
}
