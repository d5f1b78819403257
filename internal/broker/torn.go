package broker

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A commit in kfake is several writes: a marker to each partition, the offsets, and last an entry
// in pids.log. When the process is killed in between, the next start keeps what has its marker and
// aborts the rest: half a transaction. This file makes that known. Before each commit its
// transaction is written to the file endtxn; kfake serves one request at a time, so the next
// request of anybody says that the commit is whole, and at most one can be torn.

// commitIntent is the commit that was being made when the process ended.
type commitIntent struct {
	TransactionalID string `json:"transactional_id"`
	ProducerID      int64  `json:"producer_id"`
	Epoch           int16  `json:"epoch"`
	AtMs            int64  `json:"at_ms"`
	LogSize         int64  `json:"log_size"` // of pids.log before
}

// intentBytes is the size of the file: one small write, so that no half of it is ever read.
const intentBytes = 1024

// intent is the file endtxn. Only kfake's one goroutine uses it.
type intent struct {
	f    *os.File
	pids string
	seam seam.Seam
	open bool
}

func openIntent(d dir, s seam.Seam) (*intent, error) {
	f, err := os.OpenFile(d.file("endtxn"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	i := &intent{f: f, pids: filepath.Join(d.data(), "pids.log"), seam: s}
	return i, i.write(commitIntent{})
}

func (i *intent) close() { _ = i.f.Close() }

// observe sees each request before kfake serves it, and lets all pass.
func (i *intent) observe(kreq kmsg.Request) (kmsg.Response, error, bool) {
	req, ends := kreq.(*kmsg.EndTxnRequest)
	commits := ends && req.Commit // an abort cannot be torn: the next start aborts the rest too
	if !commits && !i.open {
		return nil, nil, false
	}
	var c commitIntent
	if commits {
		c = commitIntent{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID,
			Epoch: req.ProducerEpoch, AtMs: i.seam.Now().UnixMilli()}
		if info, err := os.Stat(i.pids); err == nil {
			c.LogSize = info.Size()
		}
	}
	if err := i.write(c); err != nil {
		return nil, fmt.Errorf("note a commit: %w", err), true
	}
	i.open = commits
	return nil, nil, false
}

func (i *intent) write(c commitIntent) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if len(text) > intentBytes { // a very long transactional id; the note then names none
		c.TransactionalID = "(its name is too long)"
		return i.write(c)
	}
	block := bytes.Repeat([]byte(" "), intentBytes)
	copy(block, text)
	_, err = i.f.WriteAt(block, 0)
	return err
}

// examine runs before kfake reads the data, and says in sentences what an unclean end left.
func (d dir) examine() ([]string, error) {
	if _, err := os.Stat(d.file("running")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	warnings := []string{"the embedded broker was killed in its last run: the last records may be lost if the machine failed too"}
	text, err := os.ReadFile(d.file("endtxn"))
	if errors.Is(err, os.ErrNotExist) {
		return warnings, nil
	}
	if err != nil {
		return nil, err
	}
	var c commitIntent
	if json.Unmarshal(text, &c) != nil {
		return append(warnings, "whether it was killed in the middle of a commit cannot be told; `tally audit` can"), nil
	}
	torn, err := d.torn(c)
	if err != nil {
		return nil, err
	}
	if torn != "" {
		warnings = append(warnings, torn)
	}
	return warnings, nil
}

// torn describes what a commit left, or "" when it is whole: all of it or nothing.
func (d dir) torn(c commitIntent) (string, error) {
	if c.TransactionalID == "" {
		return "", nil
	}
	done, err := d.commitEnded(c)
	if err != nil || done {
		return "", err
	}
	marked, open, err := d.marks(c)
	if err != nil || len(marked) == 0 {
		return "", err // nothing was written: the whole transaction is aborted
	}
	if len(open) == 0 {
		return fmt.Sprintf("the embedded broker was killed while it committed a transaction of %s: its records are there, the "+
			"offsets that belong to them may be missing", c.TransactionalID), nil
	}
	return fmt.Sprintf("the embedded broker was killed while it committed a transaction of %s and left half of it: %s have it, %s do not. "+
		"Counts in this data dir may be wrong; `tally audit` tells, and removing the data dir begins anew",
		c.TransactionalID, strings.Join(marked, ", "), strings.Join(open, ", ")), nil
}

// commitEnded looks for the entry that kfake writes last.
func (d dir) commitEnded(c commitIntent) (bool, error) {
	raw, err := os.ReadFile(filepath.Join(d.data(), "pids.log"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if int64(len(raw)) < c.LogSize {
		return true, nil // it was rewritten since, which kfake does after an entry
	}
	const header = 10 // length and checksum of 4 bytes each, version of 2; little endian
	for raw = raw[c.LogSize:]; len(raw) >= header; {
		length := int(binary.LittleEndian.Uint32(raw))
		if length < 2 || 8+length > len(raw) {
			break
		}
		var e struct {
			Type string `json:"type"`
			PID  int64  `json:"pid"`
		}
		if json.Unmarshal(raw[header:8+length], &e) == nil && e.Type == "endtx" && e.PID == c.ProducerID {
			return true, nil
		}
		raw = raw[8+length:]
	}
	return false, nil
}

// marks divides the partitions that the transaction wrote to: those with its commit marker, and
// those where its records are still open.
func (d dir) marks(c commitIntent) (marked, open []string, err error) {
	parts, err := os.ReadDir(filepath.Join(d.data(), "partitions"))
	if err != nil {
		return nil, nil, err
	}
	for _, p := range parts {
		segments, err := filepath.Glob(filepath.Join(d.data(), "partitions", p.Name(), "*.dat"))
		if err != nil {
			return nil, nil, err
		}
		var at mark
		for _, name := range sortedSegments(segments) {
			if err := at.scan(name, c); err != nil {
				return nil, nil, err
			}
		}
		if at.marked {
			marked = append(marked, p.Name())
		} else if at.open {
			open = append(open, p.Name())
		}
	}
	return marked, open, nil
}

// mark is what a transaction left in one partition, up to where the scan is.
type mark struct{ marked, open bool }

// scan reads the headers of a segment's batches.
func (m *mark) scan(name string, c commitIntent) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	const (
		headerBytes  = 61
		controlBytes = 64 // more than the one record of a control batch takes
	)
	buf := make([]byte, headerBytes+controlBytes)
	for pos := int64(0); ; {
		n, err := f.ReadAt(buf, pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n < headerBytes {
			return nil // the end, or a batch that was cut off, which kfake drops
		}
		m.see(buf[:n], c)
		pos += 12 + int64(binary.BigEndian.Uint32(buf[8:]))
	}
}

// see looks at one batch: its header, and for a control batch the type in its record's key.
func (m *mark) see(b []byte, c commitIntent) {
	const transactional, control = 0x10, 0x20
	attributes := binary.BigEndian.Uint16(b[21:])
	id, epoch := int64(binary.BigEndian.Uint64(b[43:])), int16(binary.BigEndian.Uint16(b[51:]))
	if id != c.ProducerID || epoch != c.Epoch || attributes&transactional == 0 {
		return
	}
	if attributes&control == 0 {
		m.open, m.marked = true, false
		return
	}
	var rec kmsg.Record
	end := min(len(b), 12+int(binary.BigEndian.Uint32(b[8:])))
	if rec.ReadFrom(b[61:end]) != nil || len(rec.Key) < 4 {
		return
	}
	commit := binary.BigEndian.Uint16(rec.Key[2:]) == 1
	at := int64(binary.BigEndian.Uint64(b[27:]))
	m.open, m.marked = false, commit && at >= c.AtMs
}

// sortedSegments orders kfake's segments, whose names are the numbers of their first offsets.
func sortedSegments(names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	return names
}
