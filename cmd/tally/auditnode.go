package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/audit"
)

// auditedNode is the node of whose answers an audit is.
func auditedNode(client *api.Client, info api.AppInfo) *audit.Node {
	return &audit.Node{AppID: info.AppID, Generation: info.Generation,
		Scan: func(ctx context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
			end, err := client.Scan(ctx, info.App, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error { return fn(c.Group, c.Values) })
			if err != nil {
				return nil, err
			}
			at := map[int32]int64{}
			for _, p := range end.Parts {
				position, ok := p.Position[info.Source+"/"+strconv.Itoa(int(p.Partition))]
				if !ok {
					return nil, fmt.Errorf("the node's answer does not say its position in %s/%d, but %s",
						info.Source, p.Partition, strings.TrimSpace(fmt.Sprint(p.Position)))
				}
				at[p.Partition] = position
			}
			return at, nil
		}}
}
