package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteGroup deletes a consumer group with all its offsets. One that is not there is no error; one
// that has members is.
func (a *Admin) DeleteGroup(ctx context.Context, group string) error {
	return a.try(ctx, fmt.Sprintf("delete consumer group %q", group), func() error {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{group}
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		if len(resp.Groups) != 1 {
			return fmt.Errorf("the answer is for %d consumer groups, not one", len(resp.Groups))
		}
		err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		return err
	})
}
