package kafka

import (
	"context"
	"maps"
	"slices"
	"time"
)

// StableEnds gives for each partition of a topic a last stable offset that is not below what the
// high watermark was at the call: at it no transaction is cut in two, and all that was written
// before the call is below it. It waits for open transactions to end; open are the partitions in
// which one has not within that time, sorted.
func (a *Admin) StableEnds(ctx context.Context, topic string, wait time.Duration) (ends map[int32]int64, open []int32, err error) {
	marks, err := a.EndOffsets(ctx, topic, false)
	if err != nil {
		return nil, nil, err
	}
	ends = map[int32]int64{}
	for began := a.cfg.Seam.Now(); ; {
		stable, err := a.EndOffsets(ctx, topic, true)
		if err != nil {
			return nil, nil, err
		}
		for p, at := range stable {
			if mark, was := marks[p]; was && at >= mark { // a partition may have come since
				if _, done := ends[p]; !done {
					ends[p] = at
				}
			}
		}
		if len(ends) >= len(marks) {
			return ends, nil, nil
		}
		if a.cfg.Seam.Since(began) >= wait {
			open := slices.Sorted(maps.Keys(marks))
			return ends, slices.DeleteFunc(open, func(p int32) bool { _, done := ends[p]; return done }), nil
		}
		if err := a.cfg.Seam.Sleep(ctx, backoffMin); err != nil {
			return nil, nil, err
		}
	}
}
