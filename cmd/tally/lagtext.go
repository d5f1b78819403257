package main

import (
	"slices"
	"strconv"

	"github.com/tally-kafka/tally/internal/api"
)

// laneLag is a question mark where nobody knows: the lane's node does not answer.
func laneLag(l api.LaneStatus) string {
	if l.State == api.LaneUnknown {
		return "?"
	}
	return strconv.FormatInt(l.Lag, 10)
}

// appLag says of a sum that lanes are missing in it.
func appLag(a api.AppStatus) string {
	text := strconv.FormatInt(a.Lag, 10)
	if slices.ContainsFunc(a.Lanes, func(l api.LaneStatus) bool { return l.State == api.LaneUnknown }) {
		return ">=" + text
	}
	return text
}

// repartitionLag is a dash where there is nothing between two stages.
func repartitionLag(a api.AppStatus, lag int64) string {
	if a.Stages < 2 {
		return "-"
	}
	return strconv.FormatInt(lag, 10)
}
