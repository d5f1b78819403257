package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// badClients is a node of the real binary on its embedded broker, which counts on while clients
// misbehave.
type badClients struct {
	t    *testing.T
	s    *suite
	j    *job
	p    *process
	load *load
	addr string // HOST:PORT
	hold time.Duration
}

// TestBadClients: whatever clients do, they are bounded and refused, which is logged without what
// they have sent, and counting goes on at its rate.
func TestBadClients(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: it runs real processes")
	}
	b := newBadClients(t)
	for _, c := range []struct {
		name string
		do   func()
		says []string // the node's log, of what was refused
	}{
		{"SlowScans", b.slowScans, []string{"busy"}},
		{"Connections", b.connections, []string{"too many connections say nothing; ending the oldest"}},
		{"MalformedRequests", b.malformed, []string{"malformed", "not readable as HTTP", "too large", "no such route"}},
		{"FloodOfGets", b.flood, nil}, // each is answered
		{"BrowserPage", b.page, []string{"a web page of another origin", "the name of another host"}},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			b.t = t
			b.whileCounting(c.do)
			b.wantLogged(b.p, c.says...)
		}) {
			break
		}
	}
	t.Run("OverTLS", func(t *testing.T) {
		b.t = t
		b.overTLS()
	})
	b.t = t
	b.load.stop()
	b.p.awaitStatus(30*time.Second, "all is counted", func(st api.AppStatus) string {
		if st.Lag != 0 || st.Processed < b.load.sent.Load() {
			return fmt.Sprintf("lag %d, %d of %d events", st.Lag, st.Processed, b.load.sent.Load())
		}
		return ""
	})
	b.wantShort(b.p)
	b.p.stop()
}

// wantLogged wants a node's log to say each of these of a refusal, in quotes as JSON has them.
func (b *badClients) wantLogged(p *process, says ...string) {
	b.t.Helper()
	for _, said := range says {
		eventually(b.t, 5*time.Second, "the log says of a refusal: "+said, func() string {
			return map[bool]string{false: "it does not"}[strings.Contains(p.text(), `"`+said+`"`)]
		})
	}
}

// wantShort wants nothing in a node's log that clients have sent, and few lines, however often they
// have sent it. What a node says at --log-level debug of the events that it counts is beside that.
func (b *badClients) wantShort(p *process) {
	b.t.Helper()
	text := p.text()
	n := 0
	for _, line := range lines(text) {
		if !strings.Contains(line, `"msg":"franz-go: `) && !strings.Contains(line, `"msg":"phase"`) {
			n++
		}
	}
	if n > 300 {
		b.t.Errorf("the log of %s has %d lines", p.m.name, n)
	}
	for _, sent := range []string{"tally_", "evil", "rebound", "passwd", "hush", "xxxxxxxx"} {
		if strings.Contains(text, sent) {
			b.t.Errorf("the log of %s has %q, which a client has sent", p.m.name, sent)
		}
	}
}

const clientsRate = 1000 // events a second

// knownGroup is one of the first that newWords makes.
var knownGroup = `["user-000","0` + strings.Repeat("long", 30) + `"]`

func newBadClients(t *testing.T) *badClients {
	b := &badClients{t: t, hold: judgedFrom}
	b.s = &suite{replicas: 1, dir: t.TempDir(), proof: os.Getenv("TALLY_PROOF") != "", seed: 1}
	must(t, b.s.build())
	events := 8_000
	if b.s.proof {
		b.hold, events = 20*time.Second, 40_000
	}
	b.j = &job{t: t, s: b.s, ctx: ctxOf(t), rand: b.s.rand(t), dir: t.TempDir(), app: "clients"}
	b.j.specFile = filepath.Join(b.j.dir, "spec.yaml")
	b.j.writeSpec()
	m := b.j.machine("node", "--create-topics", fmt.Sprint(partitions))
	m.brokers = nil
	b.p = m.start()
	st := b.p.awaitStatus(30*time.Second, "the node runs", allRun)
	if st.App != "clients" {
		t.Fatalf("%+v", st)
	}
	all, err := b.p.client().Status(b.j.ctx)
	must(t, err)
	b.addr = strings.TrimPrefix(b.p.addr, "http://")
	b.s.kafka = kafka.Config{Brokers: all.Kafka.Brokers, ClientID: "clients", Seam: seam.World()}
	b.j.send(events, newWords) // of five groups each: more than a socket's buffers hold
	b.p.awaitStatus(60*time.Second, "all of it is counted", func(st api.AppStatus) string {
		return map[bool]string{true: "not yet"}[st.Processed < int64(events)]
	})
	b.load = b.j.produce(clientsRate, cleanEvents(b.j.rand))
	b.await("it counts", 2000)
	return b
}

// await waits until n more events are counted.
func (b *badClients) await(what string, n int64) {
	b.t.Helper()
	st, err := b.p.status()
	must(b.t, err)
	b.p.awaitStatus(30*time.Second, what, func(now api.AppStatus) string {
		if got := now.Processed - st.Processed; got < n {
			return fmt.Sprintf("%d events", got)
		}
		return ""
	})
}

// judgedFrom is how long an attack has to last for what is counted meanwhile to say anything: what
// is in flight at its end, a third of a second's worth, is a twentieth of what came.
const judgedFrom = 6 * time.Second

// whileCounting makes an attack again and again for at least as long as that, and wants nine tenths
// of the clients' rate to be counted meanwhile. They send by the clock: a node that acknowledges
// less is behind it, too. Nothing of what came may wait long after it. Where too little was counted
// all is made once more: the machine stands still now and then, and does other things.
func (b *badClients) whileCounting(attack func()) {
	b.t.Helper()
	var text string
	for range 2 {
		sent, before, began := b.load.sent.Load(), b.counted(), time.Now()
		for attack(); time.Since(began) < judgedFrom && !b.t.Failed(); {
			attack()
		}
		counted := b.counted() - before
		took := time.Since(began)
		came := b.load.sent.Load() - sent
		due := int64(took.Seconds() * clientsRate)
		text = fmt.Sprintf("%.1f s: %d events were due, %d came, %d were counted", took.Seconds(), due, came, counted)
		b.t.Log(text)
		eventually(b.t, 5*time.Second, "what came meanwhile is counted", func() string {
			if n := b.counted() - before; n < came {
				return fmt.Sprintf("%d of %d", n, came)
			}
			return ""
		})
		b.await("it counts on", 200)
		if counted >= due*9/10 || b.t.Failed() {
			return
		}
	}
	b.t.Errorf("in neither of two attacks nine of ten events were counted: %s", text)
}

func (b *badClients) counted() int64 {
	b.t.Helper()
	st, err := b.p.status()
	must(b.t, err)
	return st.Processed
}

// dial opens a connection that cannot hang for ever.
func (b *badClients) dial() net.Conn {
	b.t.Helper()
	c, err := net.Dial("tcp", b.addr)
	must(b.t, err)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// get asks for one group, as a person does who knows nothing of all this.
func (b *badClients) get() error {
	ctx, cancel := context.WithTimeout(b.j.ctx, 5*time.Second)
	defer cancel()
	_, err := b.p.client().Get(ctx, b.j.app, []byte(knownGroup), api.ReadOptions{Wait: time.Second})
	return err
}

// slowScans asks for all groups, many times at once, and reads none of them: as many scans as there
// may be run, the others are refused in words, and gets are answered.
func (b *badClients) slowScans() {
	var open []net.Conn
	for range 12 {
		c := b.dial()
		defer c.Close()
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetReadBuffer(4096)
		}
		_, err := io.WriteString(c, "POST /v1/apps/clients/scan?wait=0s HTTP/1.1\r\nHost: "+b.addr+"\r\nContent-Length: 0\r\n\r\n")
		must(b.t, err)
		open = append(open, c)
	}
	refused := 0
	first := make([]byte, 12)
	for _, c := range open {
		if _, err := io.ReadFull(c, first); err != nil {
			b.t.Errorf("no answer to a scan: %v", err)
		} else if string(first) != "HTTP/1.1 200" {
			refused++
		}
	}
	if refused < 8 {
		b.t.Errorf("of 12 scans that nobody reads %d were refused", refused)
	}
	must(b.t, b.get())
	<-time.After(b.hold)
	if !b.s.proof {
		return
	}
	eventually(b.t, 40*time.Second, "a scan is free again, though nobody has read or hung up", func() string {
		_, err := b.p.client().Scan(b.j.ctx, b.j.app, nil, api.ReadOptions{}, func(api.Count) error { return nil })
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// connectionsMost is how many connections are opened where the file limit lets a process have them.
const connectionsMost = 10_000

// connections opens so many, some of which say a little.
func (b *badClients) connections() {
	n := connectionsMost
	var limit syscall.Rlimit
	must(b.t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if room := int(min(limit.Cur, 1<<30)) - 1000; room < n { // the rest is for what else the tests have open
		n = max(room, 1)
		b.t.Logf("%d connections, not %d: a process may have %d files (ulimit -n)", n, connectionsMost, limit.Cur)
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := range n {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			b.t.Fatalf("%d connections were opened, of %d (ulimit -n?): %v", i, n, err)
		}
		open = append(open, c)
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // or its port waits, and the next attacks find none
		}
		if i%3 == 0 {
			_, _ = io.WriteString(c, "GET /v1/sta")
		}
		if i%1000 == 999 {
			must(b.t, b.get())
		}
	}
	<-time.After(b.hold)
	must(b.t, b.get())
	b.wantFiles(1500)
}

// wantFiles: the node holds fewer files than were thrown at it.
func (b *badClients) wantFiles(most int) {
	b.t.Helper()
	eventually(b.t, 15*time.Second, "the node holds few files", func() string {
		held, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.p.cmd.Process.Pid))
		if errors.Is(err, os.ErrNotExist) {
			return "" // no Linux
		}
		must(b.t, err)
		if len(held) > most {
			return fmt.Sprintf("%d files", len(held))
		}
		return ""
	})
}

// malformed sends what no client should: each is refused or hung up on, nothing is the server's own
// fault, and its memory stays.
func (b *badClients) malformed() {
	grown := b.growing()
	var all sync.WaitGroup
	for _, raw := range malformedRequests(b.addr) {
		all.Go(func() {
			c, err := net.Dial("tcp", b.addr)
			if err != nil {
				b.t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			go func() { _, _ = io.Copy(c, raw.body()) }()
			first := make([]byte, 12)
			if _, err := io.ReadFull(c, first); errors.Is(err, os.ErrDeadlineExceeded) {
				b.t.Errorf("%s: neither answered nor hung up on", raw.name)
			} else if err == nil && !strings.HasPrefix(string(first), "HTTP/1.1 4") {
				b.t.Errorf("%s: answered with %q", raw.name, first)
			}
		})
	}
	all.Wait()
	if most := grown(); most > 200<<20 {
		b.t.Errorf("the node has grown by %d MB", most>>20)
	}
	if strings.Contains(b.p.text(), "panic") {
		b.t.Error("a panic in the log")
	}
}

type rawRequest struct {
	name string
	body func() io.Reader
}

func malformedRequests(host string) (all []rawRequest) {
	text := func(name, text string) {
		all = append(all, rawRequest{name, func() io.Reader { return strings.NewReader(text) }})
	}
	post := func(path, headers, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n" + body
	}
	big := func(n int) string { return strings.Repeat("x", n) }
	get := "/v1/apps/clients/get"
	text("bytes", "\x00\x01\x02\xff\r\n\r\n")
	text("no protocol", "GET\r\n\r\n")
	text("a method with a space", "GE T / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	text("a header without a colon", "GET / HTTP/1.1\r\nHost: "+host+"\r\nbroken\r\n\r\n")
	text("no host", "GET /v1/status HTTP/1.1\r\n\r\n")
	text("two hosts", "GET /v1/status HTTP/1.1\r\nHost: "+host+"\r\nHost: evil\r\n\r\n")
	text("two lengths", post(get, "Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"))
	text("a negative length", post(get, "Content-Length: -1\r\n", ""))
	text("a length beyond int64", post(get, "Content-Length: 99999999999999999999\r\n", ""))
	text("a chunk that is none", post(get, "Transfer-Encoding: chunked\r\n", "zz\r\n"))
	text("a path of a megabyte", "GET /"+big(1<<20)+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	text("a header of a megabyte", "GET / HTTP/1.1\r\nHost: "+host+"\r\nX: "+big(1<<20)+"\r\n\r\n")
	text("a path with dots", "GET /v1/apps/../../etc/passwd HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	text("an app with a null byte", post("/v1/apps/%00/get", "Content-Length: 2\r\n", "[]"))
	text("a wait of a year", post(get+"?wait=8760h", "Content-Length: 2\r\n", "[]"))
	text("a top of 2^60", post("/v1/apps/clients/top?n=1152921504606846976", "Content-Length: 0\r\n", ""))
	text("a token that is none", post(get+"?min_position="+big(5000), "Content-Length: 2\r\n", "[]"))
	text("brackets", post(get, "Content-Length: 1000000\r\n", strings.Repeat("[", 1_000_000)))
	text("no JSON", post(get, "Content-Length: 5\r\n", "\xff\xfe{}]"))
	text("a part of a number of digits", post(get, "Content-Length: 100006\r\n", `["k",`+strings.Repeat("9", 100_000)+"]"))
	bomb := "app: bomb\na: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]"
	text("a spec of references", fmt.Sprintf("PUT /v1/apps/bomb HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", host, len(bomb), bomb))
	endless := post(get, "Transfer-Encoding: chunked\r\n", "")
	all = append(all, rawRequest{"a body without end", func() io.Reader { return io.MultiReader(strings.NewReader(endless), chunks{}) }})
	giant := post(get, "Content-Length: 1099511627776\r\n", "")
	all = append(all, rawRequest{"a body of a terabyte", func() io.Reader { return io.MultiReader(strings.NewReader(giant), zeros{}) }})
	return all
}

type (
	chunks struct{} // an endless chunked body
	zeros  struct{}
)

func (chunks) Read(b []byte) (int, error) { return copy(b, "4\r\nabcd\r\n"), nil }

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// growing looks at what the node holds until it is asked, and says by how much that was more than
// at the beginning, at most.
func (b *badClients) growing() (most func() int64) {
	before, grown := b.memory(), int64(0)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			grown = max(grown, b.memory()-before)
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	}()
	return func() int64 {
		close(quit)
		<-done
		return max(grown, b.memory()-before)
	}
}

// memory is what the node holds, in bytes; 0 where nobody says.
func (b *badClients) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", b.p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	_, _ = fmt.Sscan(string(text), &size, &resident)
	return resident * int64(os.Getpagesize())
}

// flood asks for one group as often as it can on 64 connections, while 500 others wait for an event
// that does not come.
func (b *badClients) flood() {
	b.wantFiles(400) // those of the test before have ended: at the limit some would be refused
	length := b.hold + time.Second
	if b.s.proof {
		length = 2 * b.hold
	}
	ctx, cancel := context.WithTimeout(b.j.ctx, length)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 600, MaxIdleConnsPerHost: 600}}
	defer client.CloseIdleConnections()
	var asked, failed, waited atomic.Int64
	var all sync.WaitGroup
	for range 500 {
		<-time.After(time.Millisecond) // more than may come at once without a word would end each other
		all.Go(func() {
			if _, err := b.post(ctx, client, "/v1/apps/clients/get?wait=1m&after=clients-in/0:4611686018427387904"); err != nil {
				waited.Add(1)
			}
		})
	}
	for range 64 {
		all.Go(func() {
			for ctx.Err() == nil {
				status, err := b.post(ctx, client, "/v1/apps/clients/get")
				if ctx.Err() != nil {
					return
				}
				if asked.Add(1); err != nil || status != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	b.t.Logf("%d gets in %s, %d of them failed; %d others waited all the time", asked.Load(), length, failed.Load(), waited.Load())
	if asked.Load() == 0 || failed.Load() > 0 || waited.Load() != 500 {
		b.t.Errorf("%d of %d gets failed, %d waited", failed.Load(), asked.Load(), waited.Load())
	}
}

// post asks for the known group.
func (b *badClients) post(ctx context.Context, client *http.Client, path string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.p.addr+path, strings.NewReader(knownGroup))
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
