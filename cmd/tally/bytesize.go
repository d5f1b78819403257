package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is a flag such as 512MB or 1GiB.
type byteSize int64

// byteUnit is a name and what it stands for.
type byteUnit struct {
	name  string
	bytes int64
}

// byteUnits are in the order in which both directions try them: larger before smaller, and a name
// before one that it ends in.
func byteUnits() []byteUnit {
	return []byteUnit{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1}}
}

// String is the value in the largest unit that divides it.
func (b *byteSize) String() string {
	for _, u := range byteUnits() {
		if n := int64(*b); n%u.bytes == 0 && n != 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// Set reads a whole number with a unit.
func (b *byteSize) Set(text string) error {
	for _, u := range byteUnits() {
		digits, ok := strings.CutSuffix(strings.ToLower(text), strings.ToLower(u.name))
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 1 || n > math.MaxInt64/u.bytes {
			break
		}
		*b = byteSize(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size: say a whole number with KB, MB, GB, KiB, MiB or GiB, such as 512MB", text)
}

// Type is what pflag shows in the help.
func (b *byteSize) Type() string { return "size" }
