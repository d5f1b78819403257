package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Caller makes a call to the node at addr: in and out are JSON, and either may be nil. What the
// node says no with comes back as an *Error.
type Caller func(ctx context.Context, addr, call string, in, out any) error

// NewCaller makes node calls with a client that other nodes know as this node, such as the port's;
// address gives the URL of a node at HOST:PORT. An answer may take half a minute, and wait beyond
// it.
func NewCaller(client *http.Client, address func(addr string) string, wait time.Duration) Caller {
	return func(ctx context.Context, addr, call string, in, out any) error {
		var body []byte
		if in != nil {
			var err error
			if body, err = json.Marshal(in); err != nil {
				return fmt.Errorf("node call %s: %w", call, err)
			}
		}
		if out == nil {
			out = new(json.RawMessage)
		}
		c := &Client{server: address(addr), http: client}
		err := c.ask(ctx, http.MethodPost, "/v1/node/"+url.PathEscape(call), nil, body, wait, out)
		var none *NoNodeError
		if errors.As(err, &none) {
			// What that error tells people to start is not for a node's log.
			return fmt.Errorf("node call %s to %s: %w", call, addr, none.Err)
		}
		return err
	}
}
