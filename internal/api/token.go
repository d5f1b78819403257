package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A token is the position of an answer, to be given back as min_position. It is opaque to users:
// the base64url of the JSON of tokenBody.
type tokenBody struct {
	AppID      string          `json:"a"`
	Generation int             `json:"g"`
	Positions  map[int32]int64 `json:"p"`
}

// tokenBytesMax bounds what a request can make the server decode.
const tokenBytesMax = 200 << 10

// newToken makes the token of an answer. carried are bounds of the question's own token: an answer
// need not have asked all lanes, and what follows it must not be older than what came before.
func newToken(app *App, parts []Part, carried ...bound) string {
	t := tokenBody{AppID: app.ID, Generation: app.Generation, Positions: make(map[int32]int64, len(parts))}
	for _, b := range carried {
		if b.carried {
			t.Positions[b.partition] = b.position
		}
	}
	for _, p := range parts {
		t.Positions[p.Partition] = max(t.Positions[p.Partition], p.Position[sourceName(app, p.Partition)])
	}
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("api: a token is not JSON: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (rd *read) token(parts []Part) string { return newToken(rd.app, parts, rd.bounds...) }

func sourceName(app *App, partition int32) string {
	return app.Source + "/" + strconv.Itoa(int(partition))
}

// tokenBounds are the positions of the question's token, "" for none. A node that has not heard of
// the reset behind which the token was given looks for the app again, until the deadline.
func (rd *read) tokenBounds(ctx context.Context, text string) ([]bound, error) {
	if text == "" {
		return nil, nil
	}
	for {
		bounds, err := parseToken(rd.app, text)
		if err == nil || asError(err).Code != CodeNotReady || rd.left() <= 0 {
			return bounds, err
		}
		if rd.s.opt.Seam.Sleep(ctx, openPause) != nil {
			return nil, err
		}
		if rd.app, err = rd.s.awaitApp(ctx, rd.app.Name, false, rd.deadline); err != nil {
			return nil, err
		}
	}
}

// parseToken gives the positions to wait for. It fails with CodeNotReady where the token is of a
// generation that is to come.
func parseToken(app *App, text string) ([]bound, error) {
	var t tokenBody
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) > tokenBytesMax || json.Unmarshal(b, &t) != nil {
		return nil, badRequest("min_position is not a token: give back the token of an answer as it stands")
	}
	if t.AppID == app.ID && t.Generation > app.Generation {
		return nil, &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady,
			Message: fmt.Sprintf("the token is of generation %d of app %s, and this node has generation %d of it still",
				t.Generation, app.Name, app.Generation),
			Next: "ask again, or ask another node"}
	}
	if t.AppID != app.ID || t.Generation != app.Generation {
		return nil, &Error{Status: http.StatusConflict, Code: CodeConflict,
			Message: fmt.Sprintf("the token is of another app than %s (generation %d), or of the time before its reset",
				app.Name, app.Generation),
			Next: "ask without it, and go on with the token of that answer"}
	}
	bounds := make([]bound, 0, len(t.Positions))
	for p, pos := range t.Positions {
		bounds = append(bounds, bound{partition: p, position: pos, carried: true})
	}
	slices.SortFunc(bounds, func(a, b bound) int { return int(a.partition - b.partition) })
	return bounds, nil
}

// bound is a position that an answer must have reached.
type bound struct {
	partition int32 // of the source, or of the input of an app of two stages
	position  int64
	input     bool // it is a position in the input of an app of two stages
	soft      bool // it is only waited for while the read waits to be fresh
	carried   bool // it is of the question's token
	// sent is how far the source has what the first stage had sent when it had come to position;
	// nil until then.
	sent map[int32]int64
}

// parseAfter reads TOPIC/PARTITION:OFFSET; the event at the offset is included, so the position
// must be beyond it.
func parseAfter(app *App, text string) (bound, error) {
	place, offsetText, ok := cutLast(text, ":")
	topic, partitionText, ok2 := cutLast(place, "/")
	partition, err := strconv.ParseInt(partitionText, 10, 32)
	offset, err2 := strconv.ParseInt(offsetText, 10, 64)
	if !ok || !ok2 || err != nil || err2 != nil || partition < 0 || offset < 0 || offset == math.MaxInt64 {
		return bound{}, badRequest("after=%q is not TOPIC/PARTITION:OFFSET, for example %s/0:1234", text, app.Input)
	}
	b := bound{partition: int32(partition), position: offset + 1}
	switch topic {
	case app.Source:
	case app.Input:
		b.input = true
	default:
		return bound{}, badRequest("app %s reads %s, not %s", app.Name, app.Input, topic)
	}
	return b, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
