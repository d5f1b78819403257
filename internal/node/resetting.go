package node

import (
	"context"
	"errors"

	"github.com/tally-kafka/tally/internal/api"
)

// Reset starts an app anew in a new generation.
func (n *Node) Reset(ctx context.Context, name string, req api.ResetRequest) (api.ResetAnswer, error) {
	return api.ResetAnswer{}, errors.New("not yet")
}
