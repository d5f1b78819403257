package main

import (
	"context"
	"time"

	"github.com/tally-kafka/tally/internal/api"
)

// pollEvery is how often a command looks whether what it has asked for has come.
const pollEvery = 50 * time.Millisecond

// poll asks for the status until arrived gives no error, and returns its last one when the wait is
// over. A status that cannot be had meanwhile is asked for again.
func poll(ctx context.Context, t *tool, client *api.Client, wait time.Duration, arrived func(api.Status) error) error {
	deadline := t.seam.Now().Add(wait)
	for {
		st, err := client.Status(ctx)
		if err == nil {
			err = arrived(st)
		}
		if err == nil || t.seam.Now().After(deadline) {
			return err
		}
		if err := t.seam.Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
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
