package kafka

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ProduceOptions say where lines go.
type ProduceOptions struct {
	Topic         string
	Key           KeyFunc // nil: null keys, which spread one group over partitions
	LineBytesMax  int     // a longer line is an error; 0: 1 MiB
	BufferedBytes int     // of lines not acknowledged yet; 0: 32 MiB
}

// ProduceLines sends each line of r as a record, in order within each key, and puts keys where
// Java's producer would (murmur2). It returns how many records the cluster has acknowledged, also
// beside an error. After a first error no further line is read. progress, when not nil, is called
// now and then with that number, from one goroutine at a time.
func ProduceLines(ctx context.Context, c Config, opt ProduceOptions, r io.Reader, progress func(acked int)) (int, error) {
	if opt.LineBytesMax == 0 {
		opt.LineBytesMax = 1 << 20
	}
	if opt.BufferedBytes == 0 {
		opt.BufferedBytes = 32 << 20
	}
	t, err := topicMustExist(ctx, c, opt.Topic)
	if err != nil {
		return 0, err
	}
	cl, err := c.Client(
		kgo.DefaultProduceTopic(opt.Topic),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.MaxBufferedRecords(100_000), kgo.MaxBufferedBytes(opt.BufferedBytes),
		kgo.ProducerBatchMaxBytes(int32(min(max(opt.LineBytesMax, 1<<20), t.RecordLimit()))),
	)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	p := &production{progress: progress}
	readErr := p.send(ctx, cl, opt, &endable{ctx: ctx, from: r})
	flushErr := cl.Flush(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if progress != nil {
		progress(p.acked)
	}
	if p.failed != nil {
		return p.acked, fmt.Errorf("produce to topic %q: %w", opt.Topic, c.Explain(p.failed))
	}
	return p.acked, errors.Join(readErr, flushErr)
}

// endable is a reader that ends with its context, although what it reads from may have nothing to
// give: a terminal at which nobody types.
type endable struct {
	ctx  context.Context
	from io.Reader
	buf  []byte // of the read under way, which may outlive the context
}

func (e *endable) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	if len(e.buf) < len(p) {
		e.buf = make([]byte, len(p))
	}
	into, got := e.buf[:len(p)], make(chan result, 1)
	go func() {
		n, err := e.from.Read(into)
		got <- result{n, err}
	}()
	select {
	case r := <-got:
		return copy(p, into[:r.n]), r.err
	case <-e.ctx.Done():
		return 0, e.ctx.Err()
	}
}

// production counts acknowledgements.
type production struct {
	progress func(int)

	mu     sync.Mutex
	acked  int
	failed error // the first
}

func (p *production) send(ctx context.Context, cl *kgo.Client, opt ProduceOptions, r io.Reader) error {
	return readLines(r, opt, func(rec *kgo.Record) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case p.hasFailed():
			return errEnough
		}
		cl.Produce(ctx, rec, p.done) // waits while too much is buffered
		return nil
	})
}

// errEnough ends the reading of lines without an error of its own.
var errEnough = errors.New("enough")

// readLines gives each line as a record, without its end (LF or CRLF), until take says no.
func readLines(r io.Reader, opt ProduceOptions, take func(*kgo.Record) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, min(64<<10, opt.LineBytesMax)), opt.LineBytesMax)
	for n := 1; lines.Scan(); n++ {
		line := bytes.Clone(lines.Bytes()) // the client keeps it
		rec := &kgo.Record{Value: line}
		if opt.Key != nil {
			key, value, err := opt.Key(line)
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			rec.Key, rec.Value = key, value
		}
		if err := take(rec); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line is longer than %d bytes", opt.LineBytesMax)
	}
	return lines.Err()
}

func (p *production) hasFailed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed != nil
}

// done hears of each record.
func (p *production) done(_ *kgo.Record, err error) {
	const every = 1000
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.failed == nil {
			p.failed = err
		}
		return
	}
	p.acked++
	if p.progress != nil && p.acked%every == 0 {
		p.progress(p.acked)
	}
}

// topicMustExist turns a typing mistake into a sentence, where the client would wait and retry.
func topicMustExist(ctx context.Context, c Config, topic string) (Topic, error) {
	a, err := NewAdmin(c)
	if err != nil {
		return Topic{}, err
	}
	defer a.Close()
	t, ok, err := a.Topic(ctx, topic)
	if err != nil {
		return Topic{}, err
	}
	if !ok {
		return Topic{}, fmt.Errorf("there is no topic %q; create it: kafka-topics --bootstrap-server %s --create --topic %s --partitions 4",
			topic, c.Brokers[0], topic)
	}
	return t, nil
}
