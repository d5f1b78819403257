package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// kfake's logs pids.log and groups.log are frames: length and checksum of 4 bytes each, a version
// of 2, and JSON; little endian. The length counts what follows the checksum.

const (
	frameHeader  = 10
	frameVersion = 1
)

// pidEntry is an entry of pids.log: a producer id is given or its epoch raised (init), or a
// transaction is ended (endtx, timeout).
type pidEntry struct {
	Type   string `json:"type"`
	PID    int64  `json:"pid"`
	Epoch  int16  `json:"epoch"`
	Commit *bool  `json:"commit,omitempty"`
}

func (d dir) pidsLog() string { return filepath.Join(d.data(), "pids.log") }

// eachFrame calls fn with what each whole frame holds, and returns where the last of them ends.
func eachFrame(raw []byte, fn func(data []byte)) (end int) {
	for end+frameHeader <= len(raw) {
		length := int64(binary.LittleEndian.Uint32(raw[end:]))
		if length < 2 || length > int64(len(raw)-end-8) {
			break
		}
		checked := raw[end+8 : end+8+int(length)]
		if crc32.Checksum(checked, castagnoli) != binary.LittleEndian.Uint32(raw[end+4:]) {
			break
		}
		fn(checked[2:])
		end += 8 + int(length)
	}
	return end
}

func eachPID(raw []byte, fn func(pidEntry)) (end int) {
	return eachFrame(raw, func(data []byte) {
		var e pidEntry
		if json.Unmarshal(data, &e) == nil {
			fn(e)
		}
	})
}

func appendFrame(to, data []byte) []byte {
	at := len(to)
	to = binary.LittleEndian.AppendUint32(to, uint32(2+len(data)))
	to = append(to, 0, 0, 0, 0)
	to = binary.LittleEndian.AppendUint16(to, frameVersion)
	to = append(to, data...)
	binary.LittleEndian.PutUint32(to[at+4:], crc32.Checksum(to[at+8:], castagnoli))
	return to
}

// mendLog cuts off what a write that was cut short left at the end of a log: kfake would leave it
// there, append behind it, and at the next start read nothing of that.
func mendLog(name string) error {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if end := eachFrame(raw, func([]byte) {}); end < len(raw) {
		return os.Truncate(name, int64(end))
	}
	return nil
}

// fence raises the epochs of producers whose transactions were open, so that none goes on with its
// old one: as kfake does, but for good. The entry says that the transaction was aborted; else a
// client that asks again for a commit would be told that it was made, as the one before was.
func (d dir) fence(open map[int64]int16) error {
	epochs := map[int64]int16{}
	raw, err := os.ReadFile(d.pidsLog())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	eachPID(raw, func(e pidEntry) { epochs[e.PID] = e.Epoch })
	var frames []byte
	for pid, epoch := range open {
		known, is := epochs[pid]
		if !is {
			continue // kfake knows no such producer, and refuses it
		}
		data, err := json.Marshal(pidEntry{Type: "endtx", PID: pid, Epoch: raised(max(known, epoch)), Commit: new(bool)})
		if err != nil {
			return err
		}
		frames = appendFrame(frames, data)
	}
	if len(frames) == 0 {
		return nil
	}
	f, err := os.OpenFile(d.pidsLog(), os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(frames)
	return errors.Join(err, f.Close())
}

// raised is the epoch after this one. At the last one kfake itself goes over to a new producer id.
func raised(epoch int16) int16 {
	if epoch == math.MaxInt16 {
		return epoch
	}
	return epoch + 1
}
