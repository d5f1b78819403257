package spec

// AppendOutput appends the JSON value of an output record: the parts other than key, then the
// aggregates.
func (p *Program) AppendOutput(dst, group []byte, v []Decimal) []byte {
	panic("spec: not written yet")
}

// AppendGroupJSON appends the canonical JSON array of an encoded group.
func (p *Program) AppendGroupJSON(dst, group []byte) []byte { panic("spec: not written yet") }

// AppendValuesJSON appends the values as a JSON object, such as {"count":12}.
func (p *Program) AppendValuesJSON(dst []byte, v []Decimal) []byte { panic("spec: not written yet") }
