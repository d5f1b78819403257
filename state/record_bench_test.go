package state

import "testing"

var sink int // keeps what a benchmark makes

func BenchmarkEncodePosition(b *testing.B) {
	rec := PositionRecord{
		Task: Task{Partition: 3}, AppID: "0123456789abcdef01234567", Generation: 2, Txn: 12345, Input: 1 << 40,
		Spec: "app: wordcount\ninput: {topic: input_event}\n", NodeName: "node-a", Groups: 5_000_000, Digest: 1 << 60,
	}
	b.ReportAllocs()
	for b.Loop() {
		sink += len(EncodePosition(rec))
	}
}

func BenchmarkDecodePosition(b *testing.B) {
	data := EncodePosition(PositionRecord{Task: Task{Partition: 3}, AppID: "0123456789abcdef01234567", Generation: 2, Txn: 12345})
	b.ReportAllocs()
	for b.Loop() {
		rec, err := DecodePosition(data)
		if err != nil {
			b.Fatal(err)
		}
		sink += int(rec.Txn)
	}
}

func BenchmarkEncodeValue(b *testing.B) {
	var key, value []byte
	group, values := []byte("user-12345678\x00spark"), []byte("12345678")
	b.ReportAllocs()
	for b.Loop() {
		key = ValueKey(key[:0], Task{Partition: 3}, group)
		value = AppendValue(value[:0], values)
		sink += len(key) + len(value)
	}
}
