package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tally-kafka/tally/processor/spec"
)

// StandbysMax bounds the standbys of each lane; StandbysDefault is what a new app gets.
const (
	StandbysMax     = 6
	StandbysDefault = 1
)

// SubmitRequest is what a submit asks for beside the spec.
type SubmitRequest struct {
	// Standbys of each lane, 0 to StandbysMax. nil: as the app has them, StandbysDefault for a new
	// one.
	Standbys *int
}

// SubmitAnswer says what a submit came to.
type SubmitAnswer struct {
	App        string `json:"app"`
	Generation int    `json:"generation"`
	Lanes      int    `json:"lanes"`
	Standbys   int    `json:"standbys"` // of each lane; -1 from a release that does not say
	Change     string `json:"change"`   // one of the Change constants
	// Notes say what of the spec has no effect.
	Notes []string `json:"notes,omitempty"`
}

// What a submit changed.
const (
	ChangeAdded    = "added"
	ChangeUpdated  = "updated"  // by a setting that may change while the app runs
	ChangeStandbys = "standbys" // nothing but their number
	ChangeNone     = "none"     // the app runs under this very spec
)

// DeleteAnswer says what a delete stopped and deleted.
type DeleteAnswer struct {
	App    string   `json:"app"`
	Topics []string `json:"topics"` // that were deleted
}

// DrainRequest is what a drain asks for.
type DrainRequest struct {
	Undo   bool
	DryRun bool
}

// DrainAnswer says what a drain moves. It is over when the status shows no lane at the node.
type DrainAnswer struct {
	Node     string     `json:"node"`
	Draining bool       `json:"draining"`
	DryRun   bool       `json:"dry_run"`
	Moves    []LaneMove `json:"moves"` // lanes that the node owns, with where they would go as of now
	// Plan says of a dry run what would come of it, a line a lane.
	Plan []string `json:"plan,omitempty"`
}

// LaneMove is a lane on its way.
type LaneMove struct {
	App  string `json:"app"`
	Lane int    `json:"lane"`
	From string `json:"from"`         // the name of its owner, "" for none
	To   string `json:"to,omitempty"` // "" while it is not decided
}

// ForgetAnswer says which node was taken out of the cluster.
type ForgetAnswer struct {
	Node   string `json:"node"`
	Addr   string `json:"addr"`
	DryRun bool   `json:"dry_run"`
	Voted  bool   `json:"voted"`  // it had a vote
	Voters int    `json:"voters"` // that there are without it
	Lanes  int    `json:"lanes"`  // in which it had a part: others have to take it first
}

// MoveRequest is what a move asks for.
type MoveRequest struct {
	To     string
	DryRun bool
}

// MoveAnswer says what a move does. It is over when the status shows the lane running at its new
// owner, under a later epoch.
type MoveAnswer struct {
	LaneMove
	Epoch  uint64 `json:"epoch"` // of the grant that it moves from
	DryRun bool   `json:"dry_run"`
	Done   bool   `json:"done"` // the lane is there, and nothing is waited for
	// TakenBack is the node that the lane was on its way to, "" for none: it stays at its owner.
	TakenBack string `json:"taken_back,omitempty"`
	// Plan says of a dry run what would come of it, a line a lane.
	Plan []string `json:"plan,omitempty"`
}

// control is what changes the cluster; an error when this node cannot.
func (s *Server) control() (Control, error) {
	if s.opt.Control == nil {
		return nil, &Error{Status: http.StatusNotImplemented, Code: CodeNotSupported,
			Message: "this node cannot change what runs in its cluster",
			Next:    "name the spec at its start: `tally run --spec FILE`"}
	}
	return s.opt.Control, nil
}

// serveSubmit answers PUT /v1/apps/{app}?standbys=N; the body is the YAML of the spec.
func (s *Server) serveSubmit(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r, "standbys")
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	app := r.PathValue("app")
	parsed, err := spec.Parse(body, "the spec")
	if err != nil {
		return badRequest("%v", err)
	}
	if parsed.App != app {
		return badRequest("the spec is of app %s, and the path names %s", parsed.App, app)
	}
	req, err := parseSubmit(q)
	if err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	answer, err := c.Submit(r.Context(), body, req)
	if err != nil {
		return err
	}
	answer.Notes = parsed.Notes()
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func parseSubmit(q url.Values) (SubmitRequest, error) {
	text := q.Get("standbys")
	if text == "" {
		return SubmitRequest{}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > StandbysMax {
		return SubmitRequest{}, badRequest("standbys=%q is no number from 0 to %d", text, StandbysMax)
	}
	return SubmitRequest{Standbys: &n}, nil
}

// serveDelete answers DELETE /v1/apps/{app}?topics=true.
func (s *Server) serveDelete(w http.ResponseWriter, r *http.Request) error {
	q, err := s.askedByQuery(w, r, "topics")
	if err != nil {
		return err
	}
	topics, err := parseBool(q, "topics")
	if err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	answer, err := c.Delete(r.Context(), r.PathValue("app"), topics)
	if err != nil {
		return err
	}
	answer.Topics = orEmpty(answer.Topics)
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// serveDrain answers POST /v1/nodes/{node}/drain?undo=true&dry_run=true.
func (s *Server) serveDrain(w http.ResponseWriter, r *http.Request) error {
	q, err := s.askedByQuery(w, r, "undo", "dry_run")
	if err != nil {
		return err
	}
	undo, err := parseBool(q, "undo")
	if err != nil {
		return err
	}
	dry, err := parseBool(q, "dry_run")
	if err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	answer, err := c.Drain(r.Context(), r.PathValue("node"), DrainRequest{Undo: undo, DryRun: dry})
	if err != nil {
		return err
	}
	answer.Moves = orEmpty(answer.Moves)
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// serveForget answers DELETE /v1/nodes/{node}?dry_run=true.
func (s *Server) serveForget(w http.ResponseWriter, r *http.Request) error {
	q, err := s.askedByQuery(w, r, "dry_run")
	if err != nil {
		return err
	}
	dry, err := parseBool(q, "dry_run")
	if err != nil {
		return err
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	answer, err := c.Forget(r.Context(), r.PathValue("node"), dry)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// serveMove answers POST /v1/apps/{app}/lanes/{lane}/move?to=NODE&dry_run=true.
func (s *Server) serveMove(w http.ResponseWriter, r *http.Request) error {
	lane, err := strconv.Atoi(r.PathValue("lane"))
	if err != nil {
		return badRequest("%q is no lane: the lanes of an app are numbers from 0", r.PathValue("lane"))
	}
	q, err := s.askedByQuery(w, r, "to", "dry_run")
	if err != nil {
		return err
	}
	dry, err := parseBool(q, "dry_run")
	if err != nil {
		return err
	}
	to := q.Get("to")
	if to == "" {
		return badRequest("the node to move to is missing: say ?to=NODE")
	}
	c, err := s.control()
	if err != nil {
		return err
	}
	answer, err := c.Move(r.Context(), r.PathValue("app"), lane, MoveRequest{To: to, DryRun: dry})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// serveCall answers POST /v1/node/{call}, which only nodes may use.
func (s *Server) serveCall(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("call")
	call := s.opt.Calls[name]
	if call == nil {
		return &Error{Status: http.StatusNotFound, Code: CodeNotFound,
			Message: fmt.Sprintf(noCall+"%q", name), Next: "its release is another: see `tally status`"}
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	answer, err := call(r.Context(), body)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// controlWait is how long a change of the cluster may take to be decided.
const controlWait = resetWait

// Submit adds an app, or gives an app a new spec or another number of standbys.
func (c *Client) Submit(ctx context.Context, app string, spec []byte, req SubmitRequest) (SubmitAnswer, error) {
	a, q := SubmitAnswer{Standbys: -1}, url.Values{}
	if req.Standbys != nil {
		q.Set("standbys", strconv.Itoa(*req.Standbys))
	}
	err := c.ask(ctx, http.MethodPut, "/v1/apps/"+url.PathEscape(app), q, spec, controlWait, &a)
	return a, err
}

// Delete stops an app everywhere.
func (c *Client) Delete(ctx context.Context, app string, topics bool) (DeleteAnswer, error) {
	var a DeleteAnswer
	q := flags("topics", topics)
	return a, c.ask(ctx, http.MethodDelete, "/v1/apps/"+url.PathEscape(app), q, nil, controlWait, &a)
}

// Drain asks for all lanes of a node to be moved away.
func (c *Client) Drain(ctx context.Context, node string, req DrainRequest) (DrainAnswer, error) {
	var a DrainAnswer
	q := flags("undo", req.Undo, "dry_run", req.DryRun)
	return a, c.ask(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(node)+"/drain", q, nil, controlWait, &a)
}

// Forget takes a node that is gone for good out of the cluster.
func (c *Client) Forget(ctx context.Context, node string, dryRun bool) (ForgetAnswer, error) {
	var a ForgetAnswer
	q := flags("dry_run", dryRun)
	return a, c.ask(ctx, http.MethodDelete, "/v1/nodes/"+url.PathEscape(node), q, nil, controlWait, &a)
}

// Move asks for a lane to be moved to a node.
func (c *Client) Move(ctx context.Context, app string, lane int, req MoveRequest) (MoveAnswer, error) {
	var a MoveAnswer
	q := flags("dry_run", req.DryRun)
	q.Set("to", req.To)
	path := appPath(app, fmt.Sprintf("lanes/%d/move", lane))
	return a, c.ask(ctx, http.MethodPost, path, q, nil, controlWait, &a)
}

// flags are the names that are followed by true.
func flags(pairs ...any) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1].(bool) {
			q.Set(pairs[i].(string), "true")
		}
	}
	return q
}
