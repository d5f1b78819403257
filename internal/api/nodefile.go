package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Piece names a piece of a checkpoint's file, which one node reads from another: of a lane's
// checkpoint ID, at most Bytes of File from an offset on.
type Piece struct {
	App         string
	Lane        int
	ID, File    string
	From, Bytes int64
}

// Pieces opens a piece for another node, and says how many bytes it has. What the other one can do
// something about is an *Error.
type Pieces func(ctx context.Context, p Piece) (r io.ReadCloser, bytes int64, err error)

const pieceRoute = "/v1/node/checkpoint/{app}/{lane}/{id}/{file}"

// CodeGone says that what was there is not kept any more.
const CodeGone = "gone"

// servePiece answers a node's question for a piece of a checkpoint. A piece that ends early is cut
// off, so that it cannot be taken for a whole one.
func (s *Server) servePiece(w http.ResponseWriter, r *http.Request) error {
	p := Piece{App: r.PathValue("app"), ID: r.PathValue("id"), File: r.PathValue("file")}
	var err error
	if p.Lane, err = strconv.Atoi(r.PathValue("lane")); err != nil {
		return badRequest("%q is no lane", r.PathValue("lane"))
	}
	for name, v := range map[string]*int64{"from": &p.From, "bytes": &p.Bytes} {
		if *v, err = strconv.ParseInt(r.URL.Query().Get(name), 10, 64); err != nil || *v < 0 {
			return badRequest("%s=%q is no number of bytes", name, r.URL.Query().Get(name))
		}
	}
	if s.opt.Pieces == nil {
		return &Error{Status: http.StatusNotFound, Code: CodeNotFound, Message: "this node gives out no checkpoints"}
	}
	in, size, err := s.opt.Pieces(r.Context(), p)
	if err != nil {
		return err
	}
	defer in.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.WriteHeader(http.StatusOK)
	if n, err := io.Copy(w, in); err != nil || n < size {
		panic(http.ErrAbortHandler) // the status is out: an error's text would be taken for the file's
	}
	return nil
}

// PieceOpener opens a piece at the node at addr.
type PieceOpener func(ctx context.Context, addr string, p Piece) (io.ReadCloser, error)

// NewPieceOpener opens pieces with a client that other nodes know as this node.
func NewPieceOpener(client *http.Client, address func(addr string) string) PieceOpener {
	return func(ctx context.Context, addr string, p Piece) (io.ReadCloser, error) {
		c := &Client{server: address(addr), http: client}
		path := fmt.Sprintf("/v1/node/checkpoint/%s/%d/%s/%s", url.PathEscape(p.App), p.Lane, url.PathEscape(p.ID), url.PathEscape(p.File))
		q := url.Values{"from": {strconv.FormatInt(p.From, 10)}, "bytes": {strconv.FormatInt(p.Bytes, 10)}}
		resp, err := c.send(ctx, http.MethodGet, path, q, nil)
		var none *NoNodeError
		if errors.As(err, &none) { // what that tells people to start is not for a node's log
			err = fmt.Errorf("read from %s: %w", addr, none.Err)
		}
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			defer resp.Body.Close()
			return nil, c.answerError(resp)
		}
		return resp.Body, nil
	}
}
