package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// FuzzHTTP: whatever a connection brings that is an HTTP request, the answer is bounded, and what
// is not 2xx is an error of the contract.
func FuzzHTTP(f *testing.F) {
	a := newTestApp(f, wordcount, 2, 4)
	a.event(0, "k", "w")
	n := &testNode{apps: []*testApp{a}}
	s := NewServer(n, Options{Seam: seam.World(), WaitDefault: time.Millisecond, WaitMax: 5 * time.Millisecond, FreshWait: time.Millisecond, BodyBytesMax: 4 << 10,
		WatchInterval: time.Millisecond, WatchLook: time.Millisecond})
	for _, rt := range s.routeTable() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		path = strings.ReplaceAll(path, "{app}", "wordcount")
		for _, tail := range []string{"", "?wait=0s&n=3&fresh=true&after=input_event/0:0&min_position=x%zz;"} {
			for _, body := range []string{`["k","w"]`, `{"from":"earliest","dry_run":true}`} {
				f.Add([]byte(method + " " + path + tail + " HTTP/1.1\r\nHost: 127.0.0.1:7400\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body))
			}
		}
	}
	f.Add([]byte("GET /..//%2e%2e/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
	f.Add([]byte("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	f.Add([]byte("CONNECT example.com:80 HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\n\r\n"))
	f.Add([]byte("PROPFIND //v1//apps//x/get HTTP/1.0\r\nHost: [::1]:1\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("GET /v1/status HTTP/1.1\r\nHost: [127.0.0.1\r\nOrigin: :\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		w := httptest.NewRecorder()
		if strings.HasSuffix(r.URL.Path, "/watch") {
			s.ServeHTTP(&watcher{w, cancel}, r.WithContext(ctx))
		} else {
			s.ServeHTTP(w, r.WithContext(ctx))
		}
		if ctx.Err() == nil { // else nobody is there to read the answer
			checkAnswer(t, r, w)
		}
	})
}

// watcher goes away when it has read something: a watch has no end of its own.
type watcher struct {
	*httptest.ResponseRecorder
	cancel func()
}

func (w *watcher) Write(b []byte) (int, error) { w.gone(); return w.ResponseRecorder.Write(b) }
func (w *watcher) Flush()                      { w.gone() }
func (w *watcher) gone() {
	if w.Code == http.StatusOK {
		w.cancel()
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func checkAnswer(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Body.Len() > 1<<20 {
		t.Fatalf("an answer of %d bytes", w.Body.Len())
	}
	switch kind := w.Code / 100; {
	case kind == 2 || kind == 3: // 3: the mux cleans a path
	case r.RequestURI == "*": // the mux itself answers 400
	case w.Code == http.StatusInternalServerError:
		t.Fatalf("the server's fault: %s %s: %s", r.Method, r.URL, w.Body)
	case strings.HasPrefix(w.Header().Get("Content-Type"), "application/json"):
		errorOf(t, w.Body.String())
	default:
		text, _ := io.ReadAll(w.Body)
		t.Fatalf("%s %s: %d, not an error of the contract: %s", r.Method, r.URL, w.Code, text)
	}
}

// FuzzPlainCount: a line that is taken apart by hand is what encoding/json makes of it.
func FuzzPlainCount(f *testing.F) {
	for _, line := range []string{
		`{"group":["user-1","b\\\"]{"],"values":{"count":1}}`, `{"group":[null,{"b64":"/w=="}],"values":{"a":1,"b":-2.5}}`, `{"end":true,"parts":[],"token":"x"}`,
		`{"group":[],"values":{}}`, `{"group":["a"}],"values":{}}`, `{"group":["a"],"values":{}`, `{"group":["a"],"values":{},"error":{"code":"x"}}`, `{"group":[`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, ok := plainCount(line)
		if !ok || !json.Valid(line) {
			return
		}
		var l streamLine
		if err := json.Unmarshal(line, &l); err != nil || string(l.Group) != string(c.Group) || string(l.Values) != string(c.Values) || l.End || l.Error != nil {
			t.Errorf("%q is %q and %q, and for encoding/json %+v, %v", line, c.Group, c.Values, l, err)
		}
	})
}

func TestPlainCountTakesWhatNodesWrite(t *testing.T) {
	for _, line := range []string{`{"group":["user-1","b\"]{"],"values":{"count":1}}`, `{"group":[null,{"b64":"/w=="}],"values":{"a":1,"b":-2.5}}`} {
		if c, ok := plainCount([]byte(line)); !ok || `{"group":`+string(c.Group)+`,"values":`+string(c.Values)+`}` != line {
			t.Errorf("%s is %s and %s, %v", line, c.Group, c.Values, ok)
		}
	}
	for _, line := range []string{`{"group":["a"],"values":{"n":1}`, `{"group":["a"}],"values":{}}`, `{"group":["a"],"values":{}} `, `{"end":true}`, ``} {
		if _, ok := plainCount([]byte(line)); ok {
			t.Errorf("%s is taken for a count", line)
		}
	}
}
