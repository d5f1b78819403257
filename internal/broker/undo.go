package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// kfake compacts a partition by removing all its files and then writing the new ones. So that a
// kill or a full disk in between loses nothing, hard links of the files are made before, in the
// directory compacting, and the file mark in it says that they are all there. As long as it is, a
// start puts the links back. Nothing else may write to the partitions meanwhile.

func (d dir) compacting() string { return d.file("compacting") }
func (d dir) mark() string       { return filepath.Join(d.compacting(), "mark") }
func (d dir) topicsFile() string { return filepath.Join(d.data(), "topics.json") }

// keep links the files of these partitions, and the topics' settings.
func (d dir) keep(partitions []string) error {
	if err := os.RemoveAll(d.compacting()); err != nil {
		return err
	}
	if err := os.Mkdir(d.compacting(), 0o755); err != nil {
		return err
	}
	for _, path := range partitions {
		if err := linkAll(path, filepath.Join(d.compacting(), filepath.Base(path))); err != nil {
			return err
		}
	}
	if err := os.Link(d.topicsFile(), filepath.Join(d.compacting(), "topics.json")); err != nil {
		return err
	}
	return os.WriteFile(d.mark(), nil, 0o644)
}

// forget takes the mark away and then the links.
func (d dir) forget() error {
	if err := os.Remove(d.mark()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(d.compacting())
}

// undo puts back what a compaction that did not end has removed. It is for a data dir that no
// broker uses, and says whether there was such a compaction.
func (d dir) undo() (bool, error) {
	if _, err := os.Stat(d.mark()); errors.Is(err, fs.ErrNotExist) {
		return false, d.forget()
	} else if err != nil {
		return false, err
	}
	entries, err := os.ReadDir(d.compacting())
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		path := filepath.Join(d.partitions(), e.Name())
		if err := errors.Join(removeAll(path), linkAll(filepath.Join(d.compacting(), e.Name()), path)); err != nil {
			return false, fmt.Errorf("put back the files of %s: %w", e.Name(), err)
		}
	}
	topics := d.topicsFile() + ".tmp"
	if err := os.Remove(topics); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.Link(filepath.Join(d.compacting(), "topics.json"), topics); err != nil {
		return false, err
	}
	if err := os.Rename(topics, d.topicsFile()); err != nil {
		return false, err
	}
	return true, d.forget()
}

// kept says whether a file is part of a partition: others are unfinished.
func kept(e fs.DirEntry) bool {
	name := e.Name()
	return !e.IsDir() && (strings.HasSuffix(name, ".dat") || strings.HasSuffix(name, ".idx") || name == "snapshot.json")
}

func linkAll(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return eachKept(from, func(name string) error {
		return os.Link(filepath.Join(from, name), filepath.Join(to, name))
	})
}

func removeAll(path string) error {
	err := eachKept(path, func(name string) error { return os.Remove(filepath.Join(path, name)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func eachKept(path string, fn func(name string) error) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if kept(e) {
			if err := fn(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
