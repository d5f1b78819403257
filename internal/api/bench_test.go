package api

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// benchmarkRead reads 80,000 groups of four partitions.
func benchmarkRead(b *testing.B, verb string) {
	a := newTestApp(b, wordcount, 2, 4)
	var words strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&words, "word%d ", i)
	}
	for p := range int32(4) {
		a.event(p, fmt.Sprint("user-", p), words.String())
	}
	server := serveApp(b, a)
	for b.Loop() {
		resp, err := http.Post(server.URL+"/v1/apps/wordcount/"+verb, "", nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
	b.ReportMetric(80_000*float64(b.N)/b.Elapsed().Seconds(), "groups/s")
}

func BenchmarkTop(b *testing.B)  { benchmarkRead(b, "top") }
func BenchmarkScan(b *testing.B) { benchmarkRead(b, "scan") }
