package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/tally-kafka/tally/processor/spec"
)

// streamBufferBytes are held back before a stream begins, so that what fails early still gets a
// status of its own.
const streamBufferBytes = 32 << 10

// serveScan answers POST /v1/apps/{app}/scan; the body is the beginning of a group as a JSON array,
// or nothing.
func (s *Server) serveScan(w http.ResponseWriter, r *http.Request) error {
	rd, prefix, err := s.beginStream(w, r)
	if err != nil {
		return err
	}
	release, err := rd.scanPlace(r.Context())
	if err != nil {
		return err
	}
	defer release()
	if rd.local {
		return rd.scanHere(r.Context(), w, prefix)
	}
	return rd.scan(r.Context(), w, prefix)
}

func (s *Server) beginStream(w http.ResponseWriter, r *http.Request) (*read, []byte, error) {
	rd, err := s.beginRead(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return nil, nil, err
	}
	if rd.local {
		return rd, body, nil // as the store has it
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return rd, nil, nil
	}
	prefix, err := rd.app.Program.ParsePrefixJSON(body)
	if err != nil {
		return nil, nil, badRequest("the body is not the beginning of a group of app %s: %v", rd.app.Name, err)
	}
	return rd, prefix, nil
}

// scan streams one cut. An error before the first bytes is tried again; after them it becomes the
// stream's last line, and there is then no end line.
func (rd *read) scan(ctx context.Context, w http.ResponseWriter, prefix []byte) error {
	defer rd.s.hurry(w)()
	out := newLineWriter(w, rd.app.Program)
	for {
		parts, err := rd.scanOnce(ctx, out, prefix)
		if err == nil {
			if err := encodeJSON(out.buf, End{End: true, Parts: parts, Token: rd.token(parts)}); err != nil {
				return err
			}
			return out.flush()
		}
		if out.sent || !askAgain(err) || ctx.Err() != nil {
			return err
		}
		out.reset()
		if err := rd.pause(ctx, err); err != nil {
			return err
		}
	}
}

func (rd *read) scanOnce(ctx context.Context, out *lineWriter, prefix []byte) ([]Part, error) {
	c, err := rd.openAll(ctx, prefix)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.merge(ctx, prefix, out.count); err != nil {
		return nil, err
	}
	return c.parts(), nil
}

// scanHere sends another node the groups of the lanes that it asks for.
func (rd *read) scanHere(ctx context.Context, w http.ResponseWriter, prefix []byte) error {
	rd.s.patient(w)
	c, err := rd.openCut(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	out := newFrameWriter(w, rd.app.Program)
	err = c.merge(ctx, prefix, out.count)
	return out.end(c.parts(), err)
}

// lineWriter writes Counts as JSON Lines. It hands on whole lines only, so that an error can be
// appended as a line of its own.
type lineWriter struct {
	program *spec.Program
	w       http.ResponseWriter
	buf     *bufio.Writer
	ctl     *http.ResponseController
	line    []byte
	silent  []int  // what the lines say so of
	parts   []Part // what the next line says from where it comes; see Count.Parts
	sent    bool   // the client may have got lines
}

func newLineWriter(w http.ResponseWriter, p *spec.Program) *lineWriter {
	w.Header().Set("Content-Type", "application/jsonl")
	return &lineWriter{program: p, w: w, buf: bufio.NewWriterSize(w, streamBufferBytes), ctl: http.NewResponseController(w)}
}

// count writes one line; it is a groupFunc.
func (l *lineWriter) count(group []byte, values []spec.Decimal) error {
	l.line = append(l.line[:0], `{"group":`...)
	l.line = l.program.AppendGroupJSON(l.line, group)
	l.line = append(l.line, `,"values":`...)
	l.line = l.program.AppendValuesJSON(l.line, values)
	if len(l.silent) > 0 {
		l.line = append(l.line, `,"silent":[`+lanesText(l.silent)+`]`...)
	}
	if len(l.parts) > 0 {
		text, err := json.Marshal(l.parts)
		if err != nil {
			return err
		}
		l.line, l.parts = append(append(l.line, `,"parts":`...), text...), nil
	}
	l.line = append(l.line, "}\n"...)
	if l.buf.Available() < len(l.line) {
		l.sent = true
		if err := l.buf.Flush(); err != nil {
			return err
		}
	}
	_, err := l.buf.Write(l.line)
	return err
}

// reset forgets the lines of an answer that failed before one was sent.
func (l *lineWriter) reset() { l.buf.Reset(l.w) }

// flush sends what is buffered to the client now.
func (l *lineWriter) flush() error {
	l.sent = true
	if err := l.buf.Flush(); err != nil {
		return err
	}
	return l.ctl.Flush()
}
