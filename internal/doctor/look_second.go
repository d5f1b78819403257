package doctor

import (
	"context"

	"github.com/tally-kafka/tally/internal/kafka"
)

// second looks at the topic between two stages, of an app that has two. That was decided at its
// first start; before it, the spec says what would be.
func (l looker) second(ctx context.Context, a *appFacts) {
	a.repartitions = a.stages()
	if a.repartitions == 0 {
		return
	}
	a.repartition = l.topic(ctx, a.Repartition(), "repartition topic", kafka.RightRead, kafka.RightWrite)
	l.tryCreate(ctx, &a.repartition, a.repartitions)
	if !a.repartition.there {
		return
	}
	_, a.mayTrim = ask(ctx, l, func(ctx context.Context) (bool, error) { return true, l.admin.TryTrim(ctx, a.Repartition()) })
	offsets := func(ctx context.Context) (map[int32]int64, error) {
		return l.admin.GroupOffsets(ctx, a.Name, a.Repartition())
	}
	for try := 1; ; try++ {
		// The starts come before the positions, and the ends after them: a node that runs moves
		// either away from a false alarm.
		a.second.starts = asked(ctx, l, func(ctx context.Context) (map[int32]int64, error) {
			return l.admin.StartOffsets(ctx, a.Repartition())
		})
		a.second.offsets = asked(ctx, l, offsets)
		if a.changelog.there {
			_, a.second.positions = l.positions(ctx, a)
			a.second.offsetsAfter = asked(ctx, l, offsets)
		}
		if try == offsetsTries || a.second.agree() || l.opt.Kafka.Seam.Sleep(ctx, offsetsPause) != nil {
			break
		}
	}
	a.second.ends = asked(ctx, l, func(ctx context.Context) (map[int32]int64, error) {
		return l.admin.EndOffsets(ctx, a.Repartition(), false)
	})
}

// stages is the number of partitions between the stages, 0 for one stage.
func (a *appFacts) stages() int {
	for _, positions := range []map[int32]position{a.positions.v, a.second.positions.v} {
		for _, pos := range positions {
			if !pos.newer {
				return pos.Repartitions
			}
		}
	}
	if a.TwoStages == nil || !a.input.there {
		return 0
	}
	if two, err := a.TwoStages(a.input.Partitions); err != nil || !two {
		return 0 // a spec that is refused says so itself
	}
	if a.App.Repartitions > 0 {
		return a.App.Repartitions
	}
	return a.input.Partitions
}
