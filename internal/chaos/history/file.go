package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// lineBytesMax bounds a line: a scan of many groups, or a counter with all its increments.
const lineBytesMax = 256 << 20

// Lines writes a file of JSON lines. It may be used from many goroutines.
type Lines struct {
	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	err  error // the first; nothing is written after it
}

// Create makes the file, or empties it.
func Create(path string) (*Lines, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &Lines{file: f, out: bufio.NewWriterSize(f, 1<<20)}, nil
}

// Write adds a line. An error is that of Close too.
func (l *Lines) Write(v any) error {
	line, err := json.Marshal(v)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && err == nil {
		_, err = l.out.Write(append(line, '\n'))
	}
	if l.err == nil {
		l.err = err
	}
	return l.err
}

// Flush makes what was written readable for others.
func (l *Lines) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = l.out.Flush()
	}
	return l.err
}

// Close ends the file and gives the first error that there was.
func (l *Lines) Close() error {
	return errors.Join(l.Flush(), l.file.Close())
}

// Load calls fn for each line of the file. A last line without its end is left out.
func Load[T any](path string, fn func(T) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		line, err := readLine(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}

// readLine gives io.EOF for a line that was cut off.
func readLine(in *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := in.ReadSlice('\n')
		switch {
		case err == nil && whole == nil:
			return bytes.TrimSuffix(part, []byte("\n")), nil
		case err == nil:
			return bytes.TrimSuffix(append(whole, part...), []byte("\n")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(whole) > lineBytesMax:
			return nil, fmt.Errorf("longer than %d bytes", lineBytesMax)
		}
		whole = append(whole, part...)
	}
}

// WriteRun writes the description of a run.
func WriteRun(path string, r Run) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// ReadRun reads it.
func ReadRun(path string) (r Run, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
