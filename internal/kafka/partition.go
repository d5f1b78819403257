package kafka

import "hash/crc32"

// PartitionMurmur2 is the partition that Java's producer, kafka-python and franz-go give to a key
// that is not null, of n partitions.
func PartitionMurmur2(key []byte, n int) int32 {
	return int32(int(Murmur2(key)) % n)
}

// Murmur2 is the positive hash of a key, of which a partition is the rest by their number.
func Murmur2(key []byte) uint32 { return murmur2(key) & 0x7fffffff }

// PartitionCRC32 is the partition that librdkafka's default, consistent_random, gives to a key that
// is neither null nor empty: confluent-kafka and most clients that wrap librdkafka.
func PartitionCRC32(key []byte, n int) int32 {
	return int32(crc32.ChecksumIEEE(key) % uint32(n))
}

// murmur2 is Kafka's variant: this seed, little endian, and the tail as in the original.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for len(b) >= 4 {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
		b = b[4:]
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
