package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

const (
	// answerTimeout is what an answer may take beyond the wait that was asked for.
	answerTimeout = 10 * time.Second
	// quietMax is how long a stream may be silent until its node is asked whether it lives, and
	// aliveMax what that may take.
	quietMax = 10 * time.Second
	aliveMax = 5 * time.Second
	// answerBytesMax bounds an answer that is not a stream.
	answerBytesMax = 256 << 20
	// lineBytesMax bounds a line of a stream: a group, or the parts of the end.
	lineBytesMax = 16 << 20
)

// Client asks a node. It may be used from many goroutines.
type Client struct {
	server string
	token  string // "" for none; in no log and no error
	http   *http.Client
	seam   seam.Seam
	quiet  time.Duration // without a line of a stream, until the node is asked whether it lives
	alive  time.Duration // within which it has to answer that
}

// NoNodeError says that nothing answers at the server's address.
type NoNodeError struct {
	Server string
	Err    error
}

func (e *NoNodeError) Error() string {
	return fmt.Sprintf("no node answers at %s: start one with `tally run`, or say --server URL (%v)", e.Server, e.Err)
}

func (e *NoNodeError) Unwrap() error { return e.Err }

// ReadOptions are what every query may ask for.
type ReadOptions struct {
	Wait        time.Duration // negative: the server's default
	After       []string      // TOPIC/PARTITION:OFFSET
	MinPosition string        // a token
	Fresh       bool          // wait, for a moment, for what the input holds by now
	Stale       bool          // a standby may answer too
}

func (o ReadOptions) query() url.Values {
	q := url.Values{}
	if o.Wait >= 0 {
		q.Set("wait", o.Wait.String())
	}
	for _, a := range o.After {
		q.Add("after", a)
	}
	if o.Fresh {
		q.Set("fresh", "true")
	}
	if o.Stale {
		q.Set("stale", "true")
	}
	if o.MinPosition != "" {
		q.Set("min_position", o.MinPosition)
	}
	return q
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	return st, c.ask(ctx, http.MethodGet, "/v1/status", nil, nil, 0, &st)
}

// Apps asks for the apps.
func (c *Client) Apps(ctx context.Context) ([]AppInfo, error) {
	var a AppsAnswer
	err := c.ask(ctx, http.MethodGet, "/v1/apps", nil, nil, 0, &a)
	return a.Apps, err
}

// hearsay is how long a node may take to hear of an app that was submitted at another one.
const hearsay = 250 * time.Millisecond

// App finds an app; an empty name means the only one. An app that the node does not know is looked
// for once more, after a moment.
func (c *Client) App(ctx context.Context, name string) (AppInfo, error) {
	info, err := c.find(ctx, name)
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUnknownApp || c.seam.Sleep(ctx, hearsay) != nil {
		return info, err
	}
	return c.find(ctx, name)
}

func (c *Client) find(ctx context.Context, name string) (AppInfo, error) {
	apps, err := c.Apps(ctx)
	if err != nil {
		return AppInfo{}, err
	}
	var known []string
	for _, a := range apps {
		if a.App == name || name == "" && len(apps) == 1 {
			return a, nil
		}
		known = append(known, a.App)
	}
	switch {
	case len(apps) == 0:
		return AppInfo{}, &Error{Code: CodeUnknownApp, Message: "the node at " + c.server + " runs no app yet",
			Next: "start one with `tally submit FILE`"}
	case name == "":
		return AppInfo{}, &Error{Code: CodeUnknownApp,
			Message: fmt.Sprintf("the node at %s runs %d apps", c.server, len(apps)),
			Next:    "say --app with one of " + strings.Join(known, ", ")}
	}
	return AppInfo{}, &Error{Code: CodeUnknownApp, Message: fmt.Sprintf("the node at %s has no app %q", c.server, name),
		Next: "it has " + strings.Join(known, ", ")}
}

// Get asks for one group, given as a JSON array.
func (c *Client) Get(ctx context.Context, app string, group []byte, opt ReadOptions) (GetAnswer, error) {
	var a GetAnswer
	return a, c.ask(ctx, http.MethodPost, appPath(app, "get"), opt.query(), group, opt.Wait, &a)
}

// Top asks for the n largest groups.
func (c *Client) Top(ctx context.Context, app string, n int, opt ReadOptions) (TopAnswer, error) {
	var a TopAnswer
	q := opt.query()
	q.Set("n", strconv.Itoa(n))
	return a, c.ask(ctx, http.MethodPost, appPath(app, "top"), q, nil, opt.Wait, &a)
}

func appPath(app, verb string) string { return "/v1/apps/" + url.PathEscape(app) + "/" + verb }

// ErrIncomplete says that a scan's stream ended without its end line.
var ErrIncomplete = errors.New("the node stopped in the middle of the answer, which is not complete: ask again")

// Scan asks for all groups that begin with a prefix (a JSON array, or nil for all) and calls fn for
// each. Without an error the answer was complete.
func (c *Client) Scan(ctx context.Context, app string, prefix []byte, opt ReadOptions, fn func(Count) error) (End, error) {
	var end End
	err := c.stream(ctx, appPath(app, "scan"), opt, prefix, func(l streamLine) error {
		if l.End {
			end = End{End: true, Parts: l.Parts, Token: l.Token}
			return nil
		}
		return fn(l.Count)
	})
	if err == nil && !end.End {
		err = ErrIncomplete
	}
	return end, err
}

// Watch calls fn for the present values and then for each change, until ctx ends or the node stops.
func (c *Client) Watch(ctx context.Context, app string, prefix []byte, opt ReadOptions, fn func(Count) error) error {
	err := c.stream(ctx, appPath(app, "watch"), opt, prefix, func(l streamLine) error { return fn(l.Count) })
	if err == nil {
		err = errors.New("the node has ended the watch: it is stopping")
	}
	return err
}

// streamLine is any line of a stream.
type streamLine struct {
	Count
	End   bool   `json:"end"` // with Count's Parts
	Token string `json:"token"`
	Error *Error `json:"error"`
}

func (c *Client) stream(parent context.Context, path string, opt ReadOptions, body []byte, fn func(streamLine) error) error {
	ctx, end := context.WithCancelCause(parent)
	defer end(nil)
	heard := make(chan struct{}, 1)
	go c.guard(ctx, heard, end)
	err := c.streamLines(ctx, path, opt, body, func(l streamLine) error {
		select {
		case heard <- struct{}{}:
		default:
		}
		return fn(l)
	})
	if cause := context.Cause(ctx); cause != nil && parent.Err() == nil {
		return cause // the node is gone, which the reader only knows as its own end
	}
	return err
}

// guard ends a stream of which nothing comes and whose node does not answer another question
// either: the connection of a machine that has stopped stays open.
func (c *Client) guard(ctx context.Context, heard <-chan struct{}, end func(error)) {
	for {
		late, stop := c.seam.Timer(c.quiet)
		select {
		case <-heard:
		case <-late:
			if err := c.lives(ctx); err != nil {
				end(fmt.Errorf("%w: nothing has come for %s, and %w", ErrIncomplete, c.quiet, err))
			}
		case <-ctx.Done():
		}
		stop()
		if ctx.Err() != nil {
			return
		}
	}
}

func (c *Client) lives(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.alive)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, "/healthz", nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (c *Client) streamLines(ctx context.Context, path string, opt ReadOptions, body []byte, fn func(streamLine) error) error {
	resp, err := c.send(ctx, http.MethodPost, path, opt.query(), body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.answerError(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), lineBytesMax)
	for lines.Scan() {
		var l streamLine
		var plain bool
		if l.Count, plain = plainCount(bytes.Clone(lines.Bytes())); !plain {
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				return cmp.Or(ctx.Err(), ErrIncomplete) // a line that was cut off
			}
		}
		if l.Error != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, l.Error)
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w (%w)", ErrIncomplete, err)
	}
	return nil
}

// ask sends a request and decodes the answer.
func (c *Client) ask(ctx context.Context, method, path string, q url.Values, body []byte, wait time.Duration, v any) error {
	ctx, cancel := context.WithTimeout(ctx, max(wait, 0)+answerTimeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.answerError(resp)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerBytesMax)).Decode(v); err != nil {
		return fmt.Errorf("%s answers, but not as a tally node does: %w", c.server, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, q url.Values, body []byte) (*http.Response, error) {
	target := c.server + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.server, err)
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	var urlErr *url.Error
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, context.Canceled):
		return nil, context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the node at %s did not answer in time: ask another one (--server URL), or see its log", c.server)
	case errors.As(err, &urlErr):
		err = urlErr.Err
	}
	if said := c.trustError(err); said != nil {
		return nil, said
	}
	return nil, &NoNodeError{Server: c.server, Err: err}
}

// answerError reads the error of an answer that is not 200.
func (c *Client) answerError(resp *http.Response) error {
	var body errorBody
	err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body)
	if err != nil || body.Error == nil || body.Error.Message == "" {
		return fmt.Errorf("%s answers, but not as a tally node does (%s): say --server URL", c.server, resp.Status)
	}
	body.Error.Status = resp.StatusCode
	return body.Error
}
