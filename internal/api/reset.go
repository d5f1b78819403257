package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// resetWait is how long a caller waits for the end of a reset, which goes on without it.
const resetWait = time.Minute

// serveReset answers POST /v1/apps/{app}/reset?dry_run=true; the body is a ResetRequest, or empty:
// one that says nothing.
func (s *Server) serveReset(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("app")
	if _, err := s.app(name); err != nil && !notOpen(err) { // a reset is a way out of what keeps an app closed
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	req, err := resetRequest(r, body)
	if err != nil {
		return err
	}
	if _, err := ParseFrom(req.From, s.opt.Seam.Now()); err != nil {
		return badRequest("from: %v", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), resetWait)
	defer cancel()
	answer, err := s.node.Reset(ctx, name, req)
	if err != nil {
		return err
	}
	answer.Topics, answer.StateDirs = orEmpty(answer.Topics), orEmpty(answer.StateDirs)
	if answer.Start == nil {
		answer.Start = map[string]int64{}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// resetRequest is what a reset asks for. A dry run may be asked for by the query too, as one of
// other routes is.
func resetRequest(r *http.Request, body []byte) (req ResetRequest, err error) {
	q, err := queryOf(r, "dry_run")
	if err != nil {
		return req, err
	}
	dry, err := parseBool(q, "dry_run")
	if err != nil {
		return req, err
	}
	if len(bytes.TrimSpace(body)) > 0 {
		in := json.NewDecoder(bytes.NewReader(body))
		in.DisallowUnknownFields()
		if err := in.Decode(&req); err != nil {
			return req, badRequest("the body is not JSON as {\"from\":\"earliest\",\"dry_run\":true}: %v", err)
		}
		if _, err := in.Token(); !errors.Is(err, io.EOF) {
			return req, badRequest("something follows the body's JSON, as in {\"from\":\"earliest\",\"dry_run\":true}")
		}
	}
	req.DryRun = req.DryRun || dry
	return req, nil
}

// Reset asks the node to start an app anew, or with DryRun what that would do.
func (c *Client) Reset(ctx context.Context, app string, req ResetRequest) (ResetAnswer, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return ResetAnswer{}, err
	}
	var a ResetAnswer
	return a, c.ask(ctx, http.MethodPost, appPath(app, "reset"), nil, body, resetWait, &a)
}

// From is where a new generation begins to count.
type From struct {
	Spec, Earliest, Latest bool // Spec: as the spec's input.start says
	At                     time.Time
}

// ParseFrom reads earliest, latest, an RFC 3339 time, or a duration such as 2h: so long before now.
// An empty text leaves it to the spec.
func ParseFrom(text string, now time.Time) (From, error) {
	switch text {
	case "":
		return From{Spec: true}, nil
	case "earliest":
		return From{Earliest: true}, nil
	case "latest":
		return From{Latest: true}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return From{At: now.Add(-d)}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return From{At: at}, nil
	}
	return From{}, fmt.Errorf("%q is none: say earliest, latest, a time such as 2026-01-31T18:00:00Z, or so long ago, such as 2h", text)
}
