package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	i := &intent{f: f, pids: d.pidsLog(), seam: s}
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

// examine runs after an unclean end, before anything is mended and kfake reads the data. It says in
// sentences what that end left.
func (d dir) examine() ([]string, error) {
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
	raw, err := os.ReadFile(d.pidsLog())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if int64(len(raw)) < c.LogSize {
		return true, nil // it was rewritten since, which kfake does after an entry
	}
	ended := false
	eachPID(raw[c.LogSize:], func(e pidEntry) {
		ended = ended || e.Type == "endtx" && e.PID == c.ProducerID && e.Commit != nil && *e.Commit
	})
	return ended, nil
}

// marks divides the partitions that the transaction wrote to: those with its commit marker, and
// those where its records are still open.
func (d dir) marks(c commitIntent) (marked, open []string, err error) {
	err = d.eachPartition(func(path string) error {
		bases, err := segments(path)
		if err != nil {
			return err
		}
		var at mark
		for _, base := range bases {
			if err := eachHeader(datFile(path, base), func(h header, b []byte) bool {
				at.see(h, b, c)
				return true
			}); err != nil {
				return err
			}
		}
		if at.marked {
			marked = append(marked, filepath.Base(path))
		} else if at.open {
			open = append(open, filepath.Base(path))
		}
		return nil
	})
	return marked, open, err
}

// mark is what a transaction left in one partition, up to where the scan is.
type mark struct{ marked, open bool }

// see looks at one batch.
func (m *mark) see(h header, b []byte, c commitIntent) {
	if h.producer != c.ProducerID || h.producerEpoch != c.Epoch || !h.transactional {
		return
	}
	if !h.control {
		m.open, m.marked = true, false
		return
	}
	m.open, m.marked = false, isCommit(b) && h.maxTimestamp >= c.AtMs
}
