package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/livefile"
	"github.com/tally-kafka/tally/internal/seam"
)

// entriesMax bounds a file: a check compares with each entry.
const entriesMax = 256

// format is of the file; a newer one is refused.
const format = 1

type contents struct {
	Format int     `json:"format"`
	Tokens []Entry `json:"tokens"`
}

// Create adds a token to a file, which it makes if need be, and returns it: nobody can find it out
// again. A ttl of 0 is for ever.
func Create(path, name string, scope Scope, ttl time.Duration, sm seam.Seam) (string, Entry, error) {
	token, entry := draw(name, scope, ttl, sm)
	if err := entry.check(); err != nil {
		return "", Entry{}, err
	}
	err := change(path, func(all []Entry) ([]Entry, error) {
		if slices.ContainsFunc(all, func(e Entry) bool { return e.Name == name }) {
			return nil, fmt.Errorf("%s has a token %s already: choose another name, or `tally token revoke %s` first", path, name, name)
		}
		if len(all) >= entriesMax {
			return nil, fmt.Errorf("%s has %d tokens, and no more are possible: revoke some", path, len(all))
		}
		return append(all, entry), nil
	})
	if err != nil {
		return "", Entry{}, err
	}
	return token, entry, nil
}

// Revoke takes a token out of a file.
func Revoke(path, name string) error {
	if _, err := os.Stat(path); err != nil {
		return missing(path, err)
	}
	return change(path, func(all []Entry) ([]Entry, error) {
		rest := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return e.Name == name })
		if len(rest) == len(all) {
			return nil, fmt.Errorf("%s has no token %q: `tally token list` shows those that it has", path, name)
		}
		return rest, nil
	})
}

// List are the entries of a file, oldest first.
func List(path string) ([]Entry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, missing(path, err)
	}
	return parse(path, text)
}

func parse(path string, text []byte) ([]Entry, error) {
	var c contents
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s is no token file: %w", path, err)
	}
	if c.Format != format {
		return nil, fmt.Errorf("%s is a token file of format %d, and this tally knows %d", path, c.Format, format)
	}
	if len(c.Tokens) > entriesMax {
		return nil, fmt.Errorf("%s has %d tokens; at most %d", path, len(c.Tokens), entriesMax)
	}
	names := map[string]bool{}
	for _, e := range c.Tokens {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if names[e.Name] {
			return nil, fmt.Errorf("%s has two tokens %s", path, e.Name)
		}
		names[e.Name] = true
	}
	return c.Tokens, nil
}

// MissingError says that --tokens names what is not there.
type MissingError struct{ msg string }

func (e *MissingError) Error() string { return e.msg }

// ExitCode is the process's exit code: bad usage.
func (e *MissingError) ExitCode() int { return 2 }

func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingError{fmt.Sprintf("there is no token file %s: `tally token create NAME --tokens %s` makes it", path, path)}
	}
	return err
}

// change replaces a file in one step, while no other command changes it.
func change(path string, fn func([]Entry) ([]Entry, error)) error {
	dir, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingError{fmt.Sprintf("there is no directory %s for the token file %s: make it, or say another --tokens", filepath.Dir(path), path)}
	}
	if err != nil {
		return err
	}
	defer dir.Close() // ends the lock
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	var all []Entry
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		if all, err = parse(path, text); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if all, err = fn(all); err != nil {
		return err
	}
	if all == nil {
		all = []Entry{}
	}
	if text, err = json.MarshalIndent(contents{format, all}, "", "  "); err != nil {
		return err
	}
	return replace(path, append(text, '\n'), dir)
}

func replace(path string, text []byte, dir *os.File) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if was, e := os.Stat(path); e == nil && err == nil { // who could read it shall read it still
		err = f.Chmod(was.Mode().Perm())
		keepOwner(f, was)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".new", path), dir.Sync())
}

// keepOwner gives a file the owner that another has, as far as this process may: a node that runs
// as another user is to read it.
func keepOwner(f *os.File, as os.FileInfo) {
	if st, ok := as.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
}

// Options say how a File looks at its file. Zero means the default.
type Options = livefile.Options

// File is a token file in use. It may be used from many goroutines.
type File struct {
	seam seam.Seam
	live *livefile.Value[[]Entry]
	hash func(salt []byte, token string) []byte
}

// Open reads a token file for Check, and goes on reading it when it changes.
func Open(path string, opt Options) (*File, error) {
	live, err := livefile.Open(opt, func() ([]Entry, error) { return List(path) }, path)
	if err != nil {
		return nil, err
	}
	if len(live.Get()) == 0 && opt.Log != nil {
		opt.Log.Warn("the token file has no token, so nobody can ask this node", "file", path)
	}
	return &File{seam: opt.Seam, live: live, hash: hash}, nil
}

// Check finds a token that is good now. What has not the shape of one is not hashed: a header of
// 250 KB would be, once for each entry, for anybody.
func (f *File) Check(token string) (Entry, bool) {
	if !shaped(token) {
		return Entry{}, false
	}
	var found Entry
	ok := false
	for _, e := range f.live.Get() {
		if e.is(f.hash(e.Salt, token)) && !e.Expired(f.seam.Now()) {
			found, ok = e, true
		}
	}
	return found, ok
}
