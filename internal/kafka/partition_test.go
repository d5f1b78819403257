package kafka

import (
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// The vectors are those of Apache Kafka's own UtilsTest.
func TestMurmur2Vectors(t *testing.T) {
	for text, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(text))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", text, got, want)
		}
	}
}

// Measured with confluent-kafka 2.16.1 (librdkafka), topics of 4 and of 7 partitions, its defaults.
func TestCRC32Vectors(t *testing.T) {
	for _, tt := range librdkafka {
		if got := PartitionCRC32([]byte(tt.key), 4); got != tt.of4 {
			t.Errorf("%q of 4: %d, want %d", tt.key, got, tt.of4)
		}
		if got := PartitionCRC32([]byte(tt.key), 7); got != tt.of7 {
			t.Errorf("%q of 7: %d, want %d", tt.key, got, tt.of7)
		}
	}
}

func TestPartitionsAsOtherClients(t *testing.T) {
	java := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	crc := kgo.SaramaHasher(crc32.ChecksumIEEE)
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		n := rapid.IntRange(1, 1000).Draw(t, "n")
		if got, want := PartitionMurmur2(key, n), java.Partition(&kgo.Record{Key: append([]byte{}, key...)}, n); int(got) != want {
			t.Fatalf("murmur2: %d, franz-go says %d", got, want)
		}
		if got, want := PartitionCRC32(key, n), crc(key, n); int(got) != want {
			t.Fatalf("crc32: %d, franz-go says %d", got, want)
		}
	})
}

var librdkafka = []struct {
	key      string
	of4, of7 int32
}{
	{"a", 3, 4},
	{"user-1", 0, 5},
	{"user-2", 2, 3},
	{"spark", 1, 4},
	{"foobar", 1, 6},
	{"123456789", 2, 5},
	{"é€", 1, 1},
	{"a-little-bit-longer-string", 2, 0},
}
