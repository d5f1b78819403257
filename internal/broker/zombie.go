package broker

import (
	"context"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// guardZombies refuses an InitProducerID that names an older (producer id, epoch) than the
// transactional id has now. kfake takes it, and so lets an owner that was fenced come back to life
// and fence its successor; Apache Kafka answers PRODUCER_FENCED.
//
// It learns the present epoch by asking the broker itself over a connection, since kfake lets
// nobody look inside. Only a client that recovers in place sends such a request, so the cost is
// rare.
func guardZombies(c *kfake.Cluster, addr string, s seam.Seam) guard {
	return func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req, ok := kreq.(*kmsg.InitProducerIDRequest)
		if !ok || req.TransactionalID == nil || req.ProducerID < 0 || req.ProducerEpoch < 0 {
			return nil, nil, false
		}
		var now kafka.Transaction
		var known bool
		c.SleepControl(func() { now, known = describe(addr, *req.TransactionalID, s) })
		if !known || (now.ProducerID == req.ProducerID && now.Epoch <= req.ProducerEpoch) {
			return nil, nil, false // kfake itself refuses what is too new
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.ProducerFenced.Code
		return resp, nil, true
	}
}

func describe(addr, id string, s seam.Seam) (t kafka.Transaction, known bool) {
	admin, err := kafka.NewAdmin(kafka.Config{Brokers: []string{addr}, Seam: s})
	if err != nil {
		return t, false
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	t, known, err = admin.DescribeTransaction(ctx, id)
	return t, known && err == nil
}
