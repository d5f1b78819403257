package check

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// textBytesMax bounds the text of a partition; what is behind that is in its spool alone.
const textBytesMax = 64 << 20

// WriteTexts writes beside each log of a run's folder what is in it for people: a file a partition,
// TOPIC-PARTITION.txt, with a record a line, in columns divided by tabs. A log that is empty has
// none.
func WriteTexts(run history.Run, dir string) error {
	dir = filepath.Join(dir, TopicDir)
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	decoders := decodersOf(run)
	for _, f := range found {
		p, ok := placeOf(f.Name())
		if !ok {
			continue
		}
		if err := writeText(dir, p, decoders[p.Topic]); err != nil {
			return fmt.Errorf("text of %s: %w", p, err)
		}
	}
	return nil
}

const textHead = "# %s\n# offset\ttime\tproducer/epoch\tits transaction\tkey\tvalue\theaders\n"

func writeText(dir string, p Place, decode decoder) error {
	ends, err := endsOf(dir, p)
	if err != nil || ends.log.count == 0 {
		return err
	}
	in, err := openSpool(dir, p)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := os.Create(strings.TrimSuffix(spoolPath(dir, p), ".log") + ".txt")
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 256<<10)
	err = ends.text(out, partsOf(p, in), decode)
	return errors.Join(err, out.Flush(), f.Close())
}

// endings are how the transactions of a log have ended.
type endings struct {
	log     *parts             // at its end: how many records it has, and where holes
	markers map[int64][]marker // by producer, in their order
}

type marker struct {
	offset int64
	epoch  int16
	how    Control
}

func endsOf(dir string, p Place) (*endings, error) {
	in, err := openSpool(dir, p)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	e := &endings{log: partsOf(p, in), markers: map[int64][]marker{}}
	for {
		rec, err := e.log.record()
		if err != nil || rec == nil {
			return e, err
		}
		if rec.Control != Data {
			e.markers[rec.Producer] = append(e.markers[rec.Producer], marker{rec.Offset, rec.Epoch, rec.Control})
		}
	}
}

// of is how a record's transaction has ended. Records have to be asked for in their order.
func (e *endings) of(rec *Record) string {
	switch {
	case rec.Control == Commit:
		return "COMMIT"
	case rec.Control == Abort:
		return "ABORT"
	case !rec.Txn:
		return "none"
	}
	left := e.markers[rec.Producer]
	for len(left) > 0 && left[0].offset < rec.Offset {
		left = left[1:]
	}
	e.markers[rec.Producer] = left
	switch {
	case len(left) == 0:
		return "open"
	case left[0].epoch > rec.Epoch+1 && e.log.lacks(rec.Offset, left[0].offset): // its own may be missing
		return "unknown"
	case left[0].how == Commit:
		return "committed"
	}
	return "aborted"
}

// text writes a line a record, and one for each hole.
func (e *endings) text(out io.Writer, log *parts, decode decoder) error {
	written, err := fmt.Fprintf(out, textHead, log.place)
	for err == nil {
		holes := len(log.gaps)
		rec, readErr := log.record()
		if readErr != nil || rec == nil {
			return readErr
		}
		if written > textBytesMax {
			_, err = fmt.Fprintf(out, "# from offset %d on it is too long for a text: see the .log\n", rec.Offset)
			return err
		}
		for _, g := range log.gaps[holes:] {
			_, err = fmt.Fprintf(out, "# the offsets %d to %d are not there: compacted, trimmed, or a gap of Kafka's\n", g.from, g.to-1)
		}
		if err == nil {
			var n int
			n, err = io.WriteString(out, e.line(rec, decode))
			written += n
		}
	}
	return err
}

func (e *endings) line(rec *Record, decode decoder) string {
	cells := []string{strconv.FormatInt(rec.Offset, 10), time.UnixMilli(rec.TimeMs).UTC().Format(timeFormat), "-", e.of(rec), "", "", ""}
	if rec.Producer >= 0 {
		cells[2] = fmt.Sprintf("%d/%d", rec.Producer, rec.Epoch)
	}
	if rec.Control == Data {
		if decode == nil {
			decode = plain
		}
		cells[4], cells[5] = decode(rec)
	}
	var headers []string
	for _, h := range rec.Headers {
		headers = append(headers, h.Key+"="+quoted([]byte(h.Value)))
	}
	cells[6] = strings.Join(headers, " ")
	return strings.TrimRight(strings.Join(cells, "\t"), "\t") + "\n"
}
