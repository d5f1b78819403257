package spec

// Partition is the partition of the repartition topic in which a group is counted. It depends on
// the encoded group and the number of partitions alone: what is in people's changelogs rests on it,
// so it never changes.
//
// It is FNV-1a of 64 bits, with the finalizer of MurmurHash3 so that the low bits depend on all
// bytes (http://www.isthe.com/chongo/tech/comp/fnv, https://github.com/aappleby/smhasher).
func Partition(group []byte, partitions int) int32 {
	h := uint64(14695981039346656037)
	for _, b := range group {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return int32((h ^ h>>33) % uint64(partitions))
}
