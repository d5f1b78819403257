package node

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

// HasApp reports whether the data dir has run the app.
func HasApp(path, app string) bool {
	_, err := os.Stat((&dataDir{path: path}).appFile(app))
	return err == nil
}

// NoteReset notes a reset in the data dir of a node that does not run, and gives the file's name;
// the next start carries it out. It is the way to a reset of an app that no node can start as it
// is. s is the new spec, nil for the stored one.
func NoteReset(path, app, from string, s *spec.Spec, sm seam.Seam) (string, error) {
	now := sm.Now()
	if _, err := api.ParseFrom(from, now); err != nil {
		return "", err
	}
	if ago, err := time.ParseDuration(from); err == nil {
		from = now.Add(-ago).UTC().Format(time.RFC3339Nano)
	}
	d, err := openDataDir(path, sm)
	if err != nil {
		return "", err
	}
	defer d.close()
	before, err := d.loadIntent(app)
	if err != nil {
		return "", err
	}
	if before != nil && before.planned() {
		return "", fmt.Errorf("a reset of app %s to generation %d is under way: `tally run` ends it", app, before.Generation)
	}
	in := &intent{App: app, AskedMs: now.UnixMilli(), From: from}
	if in.Spec, err = d.specText(app, s); err != nil {
		return "", err
	}
	return filepath.Clean(d.intentFile(app)), d.storeIntent(in)
}

func (d *dataDir) specText(app string, s *spec.Spec) (string, error) {
	if s != nil {
		return string(s.YAML()), nil
	}
	data, err := os.ReadFile(d.appFile(app))
	return string(data), err
}
