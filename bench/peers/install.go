package peers

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// sources are the peers' programs and what they need.
//
//go:embed kafka-streams/*.java kafka-streams/pom.xml pyspark/count.py pyspark/pom.xml pyspark/requirements.txt
var sources embed.FS

// unpack writes one peer's sources into dir.
func unpack(peer, dir string) error {
	files, err := sources.ReadDir(peer)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		text, err := sources.ReadFile(peer + "/" + f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fetchJars fills dir at once or not at all with what the pom beside it names.
func fetchJars(ctx context.Context, pom, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := run(ctx, "", "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory="+part); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// run runs a program to its end.
func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
