package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// alignRows is how many rows of a table are aligned together: what is listed may be more than
// memory holds.
const alignRows = 500

// rowTable aligns some hundred rows at a time.
type rowTable struct {
	out    io.Writer
	header string
	tw     *tabwriter.Writer
	n      int // rows added
}

// add takes the columns of a row, separated by tabs.
func (r *rowTable) add(row string) error {
	if r.tw == nil {
		r.tw = table(r.out)
		fmt.Fprintln(r.tw, r.header)
	}
	r.n++
	fmt.Fprintln(r.tw, row)
	if r.n%alignRows == 0 {
		return r.tw.Flush()
	}
	return nil
}

func (r *rowTable) flush() error {
	if r.tw == nil {
		return nil
	}
	return r.tw.Flush()
}
