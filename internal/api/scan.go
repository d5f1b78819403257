package api

import (
	"bufio"
	"bytes"
	"context"
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
	release, err := rd.acquire(r.Context(), s.scans, "scans and tops")
	if err != nil {
		return err
	}
	defer release()
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
	if len(bytes.TrimSpace(body)) == 0 {
		return rd, nil, nil
	}
	prefix, err := rd.app.Program.ParsePrefixJSON(body)
	if err != nil {
		return nil, nil, badRequest("the body is not the beginning of a group of app %s: %v", rd.app.Name, err)
	}
	return rd, prefix, nil
}

// scan streams one cut. An error after the first bytes becomes the stream's last line, and there is
// then no end line.
func (rd *read) scan(ctx context.Context, w http.ResponseWriter, prefix []byte) error {
	c, err := rd.openCut(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	out := newLineWriter(w, rd.app.Program)
	if err := c.merge(ctx, prefix, out.count); err != nil {
		return err
	}
	parts := c.parts()
	if err := encodeJSON(out.buf, End{End: true, Parts: parts, Token: newToken(rd.app, parts)}); err != nil {
		return err
	}
	return out.flush()
}

// lineWriter writes Counts as JSON Lines. It hands on whole lines only, so that an error can be
// appended as a line of its own.
type lineWriter struct {
	program *spec.Program
	buf     *bufio.Writer
	ctl     *http.ResponseController
	line    []byte
}

func newLineWriter(w http.ResponseWriter, p *spec.Program) *lineWriter {
	w.Header().Set("Content-Type", "application/jsonl")
	return &lineWriter{program: p, buf: bufio.NewWriterSize(w, streamBufferBytes), ctl: http.NewResponseController(w)}
}

// count writes one line; it is a groupFunc.
func (l *lineWriter) count(group []byte, values []spec.Decimal) error {
	l.line = append(l.line[:0], `{"group":`...)
	l.line = l.program.AppendGroupJSON(l.line, group)
	l.line = append(l.line, `,"values":`...)
	l.line = l.program.AppendValuesJSON(l.line, values)
	l.line = append(l.line, "}\n"...)
	if l.buf.Available() < len(l.line) {
		if err := l.buf.Flush(); err != nil {
			return err
		}
	}
	_, err := l.buf.Write(l.line)
	return err
}

// flush sends what is buffered to the client now.
func (l *lineWriter) flush() error {
	if err := l.buf.Flush(); err != nil {
		return err
	}
	return l.ctl.Flush()
}
