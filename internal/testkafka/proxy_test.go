package testkafka

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// echo answers each request with its own body after the correlation id, as a broker of few words.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for {
					frame, err := readFrame(conn)
					if err != nil {
						return
					}
					_ = writeFrame(conn, frame[4:])
				}
			}()
		}
	}()
	return l.Addr().String()
}

// ask sends a request and says whether its answer came within d.
func ask(t *testing.T, addr string, key uint16, d time.Duration) bool {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(d))
	frame := binary.BigEndian.AppendUint16(nil, key)
	frame = append(frame, 0, 1, 0, 0, 0, 42, 'x')
	_ = writeFrame(conn, frame)
	answer, err := readFrame(conn)
	return err == nil && string(answer) == "\x00\x00\x00\x2ax"
}

// TestOnCommit: each request to commit is told before the broker has it, and nothing else is.
func TestOnCommit(t *testing.T) {
	p, err := NewProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	type commit struct {
		producer int64
		epoch    int16
	}
	told := make(chan commit, 100)
	p.OnCommit(func(producer int64, epoch int16) { told <- commit{producer, epoch} })
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	for version := range int16(6) {
		for _, client := range []string{"", "tally"} {
			req := &kmsg.EndTxnRequest{Version: version, TransactionalID: "a.lane-0", ProducerID: 7, ProducerEpoch: version}
			for _, req.Commit = range []bool{false, true} {
				_ = writeFrame(conn, kmsg.NewRequestFormatter(kmsg.FormatterClientID(client)).AppendRequest(nil, req, 42)[4:])
				if _, err := readFrame(conn); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case got := <-told:
				if got != (commit{7, version}) {
					t.Errorf("version %d: it tells %v", version, got)
				}
			default:
				t.Errorf("version %d: the broker has a commit of which nobody was told", version)
			}
		}
	}
	for _, short := range [][]byte{{0, KeyEndTxn, 0, 5, 0, 0, 0, 1}, {0, KeyEndTxn, 0, 5, 0, 0, 0, 1, 0, 0}, {0, KeyEndTxn, 0, 99, 0, 0, 0, 1, 0, 0, 0, 0}, {0, KeyProduce, 0, 5, 0, 0, 0, 1}} {
		_ = writeFrame(conn, short)
		if _, err := readFrame(conn); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) > 0 {
		t.Errorf("it tells of %d commits that are none", len(told))
	}
}

func TestProxy(t *testing.T) {
	p, err := NewProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const soon, long = 100 * time.Millisecond, 10 * time.Second
	if !ask(t, p.Addr(), 3, long) {
		t.Fatal("it does not forward")
	}
	var told atomic.Int32
	hits := p.Fail(Fault{Key: KeyEndTxn, Do: DropAnswer, Skip: 1, Times: 2, OnHit: func() { told.Add(1) }})
	for i, want := range []bool{true, false, false, true} {
		if got := ask(t, p.Addr(), KeyEndTxn, long); got != want {
			t.Errorf("EndTxn %d: answered %v, want %v", i, got, want)
		}
		if !ask(t, p.Addr(), KeyProduce, long) {
			t.Error("another key was hit")
		}
	}
	if hits.Count() != 2 || told.Load() != 2 {
		t.Errorf("%d hits, %d told, want 2", hits.Count(), told.Load())
	}
	hits.Remove()
	all := p.Fail(Fault{Key: KeyProduce, Do: DropRequest})
	if ask(t, p.Addr(), KeyProduce, long) || all.Count() != 1 {
		t.Error("a dropped request was answered")
	}
	all.Remove()
	late := p.Fail(Fault{Key: KeyEndTxn, Do: HoldRequest, Times: 1})
	if ask(t, p.Addr(), KeyEndTxn, long) || !ask(t, p.Addr(), KeyEndTxn, long) {
		t.Error("a request is not held, or the one behind it is")
	}
	if _, answer, err := late.Deliver(); err != nil || string(answer) != "\x00\x00\x00\x2ax" {
		t.Errorf("a request that came late is answered %q, %v", answer, err)
	}
	if _, _, err := late.Deliver(); err == nil {
		t.Error("a request came twice")
	}
	p.Freeze()
	if ask(t, p.Addr(), KeyProduce, soon) {
		t.Error("frozen, it forwards")
	}
	p.Heal()
	p.Cut()
	if ask(t, p.Addr(), KeyProduce, long) {
		t.Error("cut, it forwards")
	}
	p.Heal()
	p.Delay(50 * time.Millisecond)
	start := time.Now()
	if !ask(t, p.Addr(), KeyProduce, long) || time.Since(start) < 100*time.Millisecond {
		t.Errorf("an answer after %v, want two delays of 50 ms", time.Since(start))
	}
}
