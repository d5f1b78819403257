package spec

// ParseGroupJSON encodes a group given as a JSON array of all its parts.
func (p *Program) ParseGroupJSON(b []byte) ([]byte, error) { panic("spec: not written yet") }

// ParsePrefixJSON encodes the first parts of a group, given as a JSON array: a prefix of the encoding
// of each group that begins with them.
func (p *Program) ParsePrefixJSON(b []byte) ([]byte, error) { panic("spec: not written yet") }

// GroupFromArgs turns the PARTs of a command line into a JSON array for ParseGroupJSON or
// ParsePrefixJSON. With nullKey the key is null and takes no PART.
func (p *Program) GroupFromArgs(args []string, nullKey bool) ([]byte, error) {
	panic("spec: not written yet")
}

// GroupKey is the event key in an encoded group. Without a `key` in the grouping it is null.
func (p *Program) GroupKey(group []byte) (key []byte, null bool) { panic("spec: not written yet") }
