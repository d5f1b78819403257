package world

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
)

// awaitHealthy waits until every lane of every app that runs all the time runs somewhere.
func (w *World) awaitHealthy(ctx context.Context, within time.Duration) error {
	why := ""
	for end := time.Now().Add(within); time.Now().Before(end); {
		st, err := w.status(ctx)
		if err == nil {
			if why = unhealthy(st); why == "" {
				return nil
			}
		} else {
			why = err.Error()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("not all lanes run after %v: %s", within, why)
}

func unhealthy(st api.Status) string {
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			if l.State != api.LaneRunning && a.App != PassingApp {
				return fmt.Sprintf("%s/%d is %s at %q: %s", a.App, l.Lane, l.State, l.Owner, l.Reason)
			}
		}
	}
	run := running(st)
	for _, app := range Apps {
		if run[app] != Lanes {
			return fmt.Sprintf("%d lanes of %s run", run[app], app)
		}
	}
	return ""
}

// running is how many lanes of each app run.
func running(st api.Status) map[string]int {
	run := map[string]int{}
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			if l.State == api.LaneRunning {
				run[a.App]++
			}
		}
	}
	return run
}

// eventsMost is for how long events may come after the last fault for the quiet to be counted from
// its end: while they come nothing is quiet, and some of the time has to be left.
const eventsMost = quietMost / 2

// quietFrom is from when the quiet is counted: from when the last fault was over with all that
// faults had begun, or, where events have come for long since then, from the end of these. Under
// pressure they do, as many as can be counted.
func (w *World) quietFrom(eventsEnded time.Time) (from time.Time, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm.IsZero() || w.opt.Press || eventsEnded.Sub(w.calm) > eventsMost {
		return eventsEnded, "the last events, long after the last fault"
	}
	return w.calm, "the last fault and all that faults had begun"
}

// awaitQuiet waits until nothing waits and no transaction is open, and says how long that took. It
// waits longer than it may take, to tell late from never.
func (w *World) awaitQuiet(ctx context.Context, eventsEnded time.Time) history.End {
	end := history.End{QuietAfterMs: -1}
	end.From, end.FromWhat = w.quietFrom(eventsEnded)
	over := end.From
	for time.Since(over) < 3*quietMost && ctx.Err() == nil {
		why, err := w.restless(ctx, &end)
		if err == nil && why == "" {
			end.QuietAfterMs, end.Why = time.Since(over).Milliseconds(), ""
			break
		}
		end.Why = why
		if err != nil {
			end.Why = err.Error()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return end // the run is given up
	}
	if end.QuietAfterMs < 0 || end.QuietAfterMs > quietMost.Milliseconds() {
		w.problem("quiet after %d ms (-1: never), and not within %v of %s: %s", end.QuietAfterMs, quietMost, end.FromWhat, end.Why)
	}
	return end
}

// restless says what is not at rest yet.
func (w *World) restless(ctx context.Context, end *history.End) (why string, err error) {
	st, err := w.status(ctx)
	if err != nil {
		return "", err
	}
	if end.Lag = lagOf(st); end.Lag != 0 {
		return fmt.Sprintf("lag %d; %s", end.Lag, unhealthy(st)), nil
	}
	if why = unhealthy(st); why != "" {
		return why, nil
	}
	if end.Topics, err = w.ends(ctx); err != nil {
		return "", err
	}
	if why = unended(end.Topics); why != "" {
		return why, nil
	}
	if end.Waiting, err = w.waiting(ctx, end.Topics); err != nil || end.Waiting == 0 {
		return "", err
	}
	return fmt.Sprintf("%d records behind what the groups have committed", end.Waiting), nil
}

// unended names a partition in which a transaction is open, "" where there is none.
func unended(topics []history.Topic) string {
	for _, t := range topics {
		if t.End != t.LastStable {
			return fmt.Sprintf("%s/%d ends at %d and can be read up to %d", t.Topic, t.Partition, t.End, t.LastStable)
		}
	}
	return ""
}

// openMost is for how long at most Kafka leaves a transaction open whose owner was killed: 10 s, as
// nodes ask for, the time between two looks, and some more.
const openMost = 40 * time.Second

// awaitEnded waits until Kafka has ended what the nodes had open as they were killed: a minute
// after its last event a lane notes its position once more, and that may have been just then.
func (w *World) awaitEnded() {
	ctx, cancel := context.WithTimeout(context.Background(), openMost)
	defer cancel()
	for ctx.Err() == nil {
		if topics, err := w.ends(ctx); err == nil && unended(topics) == "" {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// audit has tally audit its own apps.
func (w *World) audit(ctx context.Context) {
	names := w.alive()
	if len(names) == 0 {
		w.problem("no node runs that could be asked by the audit")
		return
	}
	for _, app := range Apps {
		code, out := w.auditOf(ctx, app, 5*time.Minute)
		if ctx.Err() != nil {
			return
		}
		w.write(history.Event{Kind: history.KindAudit, Audit: &history.Audit{App: app, Exact: code == 0, Code: code, Text: out}})
		if code != 0 {
			w.problem("tally audit of %s exits %d: %s", app, code, out)
		}
	}
}

// auditOf has some node that runs audit an app; the code is -1 where nothing could be asked.
func (w *World) auditOf(ctx context.Context, app string, within time.Duration) (code int, out string) {
	out, err := w.tally(ctx, within, "audit", "--app", app)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, out
	case errors.As(err, &exit):
		return exit.ExitCode(), out
	}
	return -1, out + err.Error()
}
