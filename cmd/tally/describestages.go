package main

import (
	"cmp"
	"fmt"

	"github.com/tally-kafka/tally/processor/spec"
)

// lanesText says how many lanes an app has.
func lanesText(s *spec.Spec) string {
	return fmt.Sprintf("%d, or as many as the input has partitions; fixed at the first start", cmp.Or(s.Lanes, 4))
}

// stagesText says how many stages a spec has, and why.
func stagesText(s *spec.Spec) string {
	switch {
	case s.Repartition.Mode == spec.RepartitionAlways:
		return "2, since the spec says `repartition: always`"
	case s.Local(2):
		return "1: the grouping is local, since it contains key or partition: the events of a group come from one partition"
	case s.Repartition.Mode == spec.RepartitionNever:
		return "1, and only if the input has one partition: the grouping is not local, and the spec says `repartition: never`"
	}
	return "2, or 1 if the input has one partition: the grouping is not local, since it contains neither key nor partition"
}

// betweenText says what goes between two stages.
func betweenText(s *spec.Spec) string {
	partitions := "as many partitions as the input"
	if n := s.Repartition.Partitions; n > 0 {
		partitions = fmt.Sprintf("%d partitions", n)
	}
	return spec.RepartitionTopic(s.App) + ", " + partitions + ": of each transaction one partial result a group, in the partition that the group decides"
}

// twoStages says whether the spec has two stages, at least where the input has several partitions.
func twoStages(s *spec.Spec) bool {
	two, err := s.TwoStages(2)
	return two && err == nil
}
