package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// DifferenceError says that a count or an output is not what was sent.
type DifferenceError struct {
	Differences []string
}

// ExitCode is that of an audit which has found a difference.
func (e *DifferenceError) ExitCode() int { return 4 }

func (e *DifferenceError) Error() string {
	const most = 10
	text := fmt.Sprintf("%d differences:\n  %s", len(e.Differences),
		strings.Join(e.Differences[:min(most, len(e.Differences))], "\n  "))
	if len(e.Differences) > most {
		text += fmt.Sprintf("\n  and %d more", len(e.Differences)-most)
	}
	return text
}

// compare sets every count and every output against what was sent.
func (s *show) compare(ctx context.Context) ([]string, error) {
	answers, differences, err := s.answers(ctx)
	if err != nil {
		return nil, err
	}
	differences = append(differences, against("the answer", answers, s.sent.counts)...)
	outputs := &outputs{last: map[counter]int64{}}
	if err := s.readOutputs(ctx, outputs); err != nil {
		return nil, err
	}
	differences = append(differences, outputs.faults...)
	differences = append(differences, against("the last output", outputs.totals(), s.sent.counts)...)
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	if got := st.Apps[0].Processed; got != int64(s.opt.Events) {
		differences = append(differences, fmt.Sprintf("processed: %d events, sent %d", got, s.opt.Events))
	}
	return differences, nil
}

// answers is a scan of everything.
func (s *show) answers(ctx context.Context) (map[group]int64, []string, error) {
	got := map[group]int64{}
	var faults []string
	_, err := s.ask().client.Scan(ctx, s.names.app, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error {
		g, n, err := decode(c)
		if err != nil {
			faults = append(faults, err.Error())
			return nil
		}
		if _, twice := got[g]; twice {
			faults = append(faults, fmt.Sprintf("%s %s is twice in the scan", g.user, g.word))
		}
		got[g] = n
		return nil
	})
	return got, faults, err
}

// against lists the groups whose counts differ, in order.
func against(what string, got, want map[group]int64) []string {
	var differences []string
	for g, n := range want {
		if got[g] != n {
			differences = append(differences, fmt.Sprintf("%s of %s %s: %d, sent %d", what, g.user, g.word, got[g], n))
		}
	}
	for g, n := range got {
		if _, ok := want[g]; !ok {
			differences = append(differences, fmt.Sprintf("%s of %s %s: %d, never sent", what, g.user, g.word, n))
		}
	}
	slices.Sort(differences)
	return differences
}

// counter is what has an ascending count in the output: a group in a partition.
type counter struct {
	partition int32
	group
}

type outputs struct {
	last   map[counter]int64
	faults []string
}

// readOutputs reads every committed record of the output.
func (s *show) readOutputs(ctx context.Context, o *outputs) error {
	starts, err := s.admin.StartOffsets(ctx, s.names.output)
	if err != nil {
		return err
	}
	ends, err := s.admin.EndOffsets(ctx, s.names.output, true)
	if err != nil {
		return err
	}
	for p, end := range ends {
		err := s.admin.Read(ctx, s.names.output, p, starts[p], end, func(r *kgo.Record) error {
			o.add(r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *outputs) add(r *kgo.Record) {
	var value struct {
		Item  string
		Count int64
	}
	if err := json.Unmarshal(r.Value, &value); err != nil {
		o.faults = append(o.faults, fmt.Sprintf("output %d/%d is no count: %s", r.Partition, r.Offset, r.Value))
		return
	}
	c := counter{r.Partition, group{string(r.Key), value.Item}}
	if value.Count <= o.last[c] {
		o.faults = append(o.faults, fmt.Sprintf("output %d/%d: %s %s is %d after %d",
			r.Partition, r.Offset, c.user, c.word, value.Count, o.last[c]))
	}
	o.last[c] = value.Count
}

// totals adds up a group's counters; with one kind of producer each group has one.
func (o *outputs) totals() map[group]int64 {
	totals := map[group]int64{}
	for c, n := range o.last {
		totals[c.group] += n
	}
	return totals
}
