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

// BenchmarkGet is a get at the one node, at a cluster of one, and at a node of three that has to
// ask another: what a hop costs.
func BenchmarkGet(b *testing.B) {
	a := newTestApp(b, wordcount, 3, 3)
	for p := range int32(3) {
		a.event(p, fmt.Sprint("user-", p), "spark")
	}
	steady(a)
	place := func(key []byte, n int) int32 { return int32(key[len(key)-1]-'0') % int32(n) }
	a.Partitioners = []func([]byte, int) int32{place, place}
	bench := func(name, url string) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				resp, err := http.Post(url, "", strings.NewReader(`["user-1","spark"]`))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					b.Fatal(resp.Status, err)
				}
				resp.Body.Close()
			}
		})
	}
	bench("alone", serveApp(b, a).URL+"/v1/apps/wordcount/get")
	bench("clusterOfOne", newTestCluster(b, a, 1, Options{}).url(0, "get"))
	three := newTestCluster(b, a, 3, Options{})
	bench("routed", three.url(0, "get"))
	bench("fresh", three.url(0, "get?fresh=true"))
}
