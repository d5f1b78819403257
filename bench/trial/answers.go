package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/api"
)

const (
	answersSampled = 200 // gets that are compared
	// answersWait is for a node that has committed the last events and does not show them yet.
	answersWait = 10 * time.Second
)

// answers asks a tally node that has counted everything for a sample of groups and for the largest,
// and says what differs from the recount, "" for nothing. The groups are keys.
func (l *Lab) answers(ctx context.Context, job peers.Job, recount *bench.Recount) (wrong string, err error) {
	client, err := api.NewClient("http://"+job.Listen, l.Seam)
	if err != nil {
		return "", err
	}
	largest := recount.Largest(topGroups)
	for end := l.Seam.Now().Add(answersWait); ; {
		if wrong, err = wrongGet(ctx, client, job, recount); err == nil && wrong == "" {
			wrong, err = wrongTop(ctx, client, job.App, recount, largest)
		}
		if err != nil || wrong == "" || l.Seam.Now().After(end) {
			return wrong, err
		}
		if err := l.Seam.Sleep(ctx, pollEvery); err != nil {
			return wrong, err
		}
	}
}

func wrongGet(ctx context.Context, client *api.Client, job peers.Job, recount *bench.Recount) (string, error) {
	source := job.Workload.Source()
	for range answersSampled {
		key, _ := source.Next()
		group, err := json.Marshal([]string{string(key)})
		if err != nil {
			return "", err
		}
		a, err := client.Get(ctx, job.App, group, api.ReadOptions{Wait: -1})
		if err != nil {
			return "", err
		}
		if want := recount.Of(string(key)); !bytes.Equal(a.Values, values(want)) && (a.Found || want > 0) {
			return fmt.Sprintf("a get of %s gives %q, not a count of %d", group, a.Values, want), nil
		}
	}
	return "", nil
}

func wrongTop(ctx context.Context, client *api.Client, app string, recount *bench.Recount, largest []int64) (string, error) {
	a, err := client.Top(ctx, app, len(largest), api.ReadOptions{Wait: -1})
	if err != nil {
		return "", err
	}
	if len(a.Counts) != len(largest) {
		return fmt.Sprintf("a top %d gives %d groups", len(largest), len(a.Counts)), nil
	}
	for i, c := range a.Counts {
		var group []string
		if err := json.Unmarshal(c.Group, &group); err != nil || len(group) != 1 {
			return fmt.Sprintf("a top gives the group %s", c.Group), nil
		}
		if want := largest[i]; recount.Of(group[0]) != want || !bytes.Equal(c.Values, values(want)) {
			return fmt.Sprintf("number %d of a top is %s with %s, not a group of %d", i+1, c.Group, c.Values, want), nil
		}
	}
	return "", nil
}

func values(count int64) []byte { return fmt.Appendf(nil, `{"count":%d}`, count) }
