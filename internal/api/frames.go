package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

// Nodes send each other groups as frames: a kind, and then byte strings with their lengths before
// them. Values go as the store has them, so that what is folded is exact and nothing is parsed.
const (
	frameGroup = 1 // a group and its encoded values, which may be empty
	frameFlush = 2 // nothing follows for now
	frameEnd   = 3 // the JSON of a frameTail; nothing follows
)

// frameTail ends a stream of frames. Without it the stream is not complete.
type frameTail struct {
	Parts []Part `json:"parts,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// frameBytesMax bounds what a frame can make a node hold.
const frameBytesMax = lineBytesMax

// frameWriter writes frames.
type frameWriter struct {
	program *spec.Program
	buf     *bufio.Writer
	ctl     *http.ResponseController
	values  []byte
	line    []byte
	begun   bool // bytes were handed on: an error can no longer have a status of its own
}

func newFrameWriter(w http.ResponseWriter, p *spec.Program) *frameWriter {
	w.Header().Set("Content-Type", "application/octet-stream")
	return &frameWriter{program: p, buf: bufio.NewWriterSize(w, streamBufferBytes), ctl: http.NewResponseController(w)}
}

// count writes a group with its values; it is a groupFunc.
func (f *frameWriter) count(group []byte, values []spec.Decimal) error {
	f.values = f.program.AppendValues(f.values[:0], values)
	return f.frame(frameGroup, group, f.values)
}

func (f *frameWriter) frame(kind byte, texts ...[]byte) error {
	f.line = appendFrame(f.line[:0], kind, texts...)
	if f.buf.Available() < len(f.line) {
		f.begun = true
	}
	_, err := f.buf.Write(f.line)
	return err
}

func appendFrame(dst []byte, kind byte, texts ...[]byte) []byte {
	dst = append(dst, kind)
	for _, t := range texts {
		dst = append(binary.AppendUvarint(dst, uint64(len(t))), t...)
	}
	return dst
}

// flush sends what is buffered now.
func (f *frameWriter) flush() error {
	f.begun = true
	if err := f.buf.Flush(); err != nil {
		return err
	}
	return f.ctl.Flush()
}

// end writes the tail. An error before anything was sent is returned, to be an answer of its own.
func (f *frameWriter) end(parts []Part, failed error) error {
	if failed != nil && !f.begun {
		return failed
	}
	tail := frameTail{Parts: parts}
	if failed != nil {
		tail.Error = asError(failed)
	}
	text, err := json.Marshal(tail)
	if err != nil {
		return err
	}
	if err := f.frame(frameEnd, text); err != nil {
		return err
	}
	return f.flush()
}

// frameReader reads the frames of another node's answer.
type frameReader struct {
	member Member
	body   io.ReadCloser
	buf    *bufio.Reader
	cancel context.CancelFunc // of the request

	group, values []byte // of the last frame; valid until next
	tail          frameTail
}

// newFrameReader reads the frames of a request's body.
func newFrameReader(body []byte) *frameReader {
	return &frameReader{buf: bufio.NewReader(bytes.NewReader(body))}
}

// next reads a frame and says its kind. After frameEnd tail is set.
func (f *frameReader) next() (kind byte, err error) {
	if kind, err = f.buf.ReadByte(); err != nil {
		return 0, f.broken(err)
	}
	switch kind {
	case frameGroup:
		if f.group, err = f.text(f.group); err == nil {
			f.values, err = f.text(f.values)
		}
	case frameFlush:
	case frameEnd:
		var text []byte
		if text, err = f.text(nil); err == nil {
			err = json.Unmarshal(text, &f.tail)
		}
	default:
		err = fmt.Errorf("a frame of kind %d", kind)
	}
	if err != nil {
		return 0, f.broken(err)
	}
	if f.tail.Error != nil {
		f.tail.Error.Status = http.StatusBadGateway
		return 0, f.tail.Error
	}
	return kind, nil
}

func (f *frameReader) text(dst []byte) ([]byte, error) {
	n, err := binary.ReadUvarint(f.buf)
	if err != nil {
		return dst, err
	}
	if n > frameBytesMax {
		return dst, fmt.Errorf("a frame of %d bytes", n)
	}
	if uint64(cap(dst)) < n {
		dst = make([]byte, n)
	}
	dst = dst[:n]
	_, err = io.ReadFull(f.buf, dst)
	return dst, err
}

func (f *frameReader) broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &Error{Status: http.StatusBadGateway, Code: CodeNotReady,
		Message: fmt.Sprintf("node %s stopped in the middle of its answer (%v)", f.member.Name, err), Next: "ask again"}
}

func (f *frameReader) close() {
	f.cancel()
	_ = f.body.Close()
}

// stallReader ends the request when a read gets nothing for too long: the other node hangs. Once
// its lanes are another's, it is not waited for as long.
type stallReader struct {
	body   io.Reader
	cancel context.CancelFunc // of the request
	seam   seam.Seam
	stall  time.Duration // the longest that a read may take
	look   time.Duration // how often it looks whether the lanes are gone
	gone   func() bool
}

func (r stallReader) Read(b []byte) (int, error) {
	reading, done := context.WithCancel(context.Background())
	defer done()
	go r.guard(reading)
	return r.body.Read(b)
}

func (r stallReader) guard(reading context.Context) {
	for waited := time.Duration(0); waited < r.stall; waited += r.look {
		if r.seam.Sleep(reading, r.look) != nil {
			return
		}
		if r.gone() {
			break
		}
	}
	r.cancel()
}

// openFrames asks another node for a stream, which lives until ctx ends or it is closed. asking
// bounds the time until the answer begins.
func (rd *read) openFrames(ctx, asking context.Context, sh shard, verb, more string, body []byte) (*frameReader, error) {
	asking, cancelAsking := context.WithTimeout(asking, max(rd.left(), 0)+rd.s.opt.StreamStall)
	defer cancelAsking()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(asking, cancel)
	resp, err := rd.askedWith(ctx, sh, verb, more, body)
	if err != nil {
		cancel()
		return nil, err
	}
	f := &frameReader{member: sh.member, body: resp.Body, cancel: cancel}
	f.buf = bufio.NewReaderSize(stallReader{
		body: resp.Body, cancel: cancel, seam: rd.s.opt.Seam, stall: rd.s.opt.StreamStall, look: rd.s.opt.StreamLook,
		gone: func() bool { return !rd.stillAt(sh) },
	}, streamBufferBytes)
	if !stop() {
		f.close()
		return nil, rd.noAnswer(sh.member, context.Cause(asking))
	}
	return f, nil
}
