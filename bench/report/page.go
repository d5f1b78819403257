package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Marker is the line below which people write. What is there is kept.
const Marker = "<!-- Written by hand from here on; `make bench-peers` keeps it. -->"

// kept is the file of the results beside a page's plots.
const kept = "results.json"

// Write writes the page to path, and its plots and results into a folder of the page's name beside
// it. Works of the page that are not among these results stay as they are, and so does the page
// when one of its parts cannot be made.
func (r *Results) Write(path string) error {
	own, err := HandWritten(path, Marker)
	if err != nil {
		return err
	}
	folder := strings.TrimSuffix(path, filepath.Ext(path))
	r.Trim()
	r.Stamp()
	old, err := Load(filepath.Join(folder, kept))
	switch {
	case err == nil:
		r.Over(old)
	case !os.IsNotExist(err):
		return err
	}
	var b strings.Builder
	r.head(&b)
	var plots []plot
	for _, w := range r.Works {
		more, err := w.plots()
		if err != nil {
			return err
		}
		w.section(&b, r, filepath.Base(folder), more)
		plots = append(plots, more...)
	}
	r.foot(&b)
	b.WriteString("\n" + Marker + "\n" + own)
	if err := r.replace(folder, plots); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// section is a work on the page.
func (w *Work) section(b *strings.Builder, r *Results, folder string, plots []plot) {
	fmt.Fprintf(b, "\n## (%s) %s\n\n", w.ID, w.Title)
	if w.By.Command != r.Command || !w.By.On.Equal(r.Began) {
		fmt.Fprintf(b, "Measured by `%s` on %s, %s.\n\n", w.By.Command, w.By.On.UTC().Format("2006-01-02"), w.By.Tally)
	}
	if w.By.Machine != r.machine() {
		fmt.Fprintf(b, "**On another machine**: %s.\n\n", w.By.Machine)
	}
	if w.By.Scale != r.Scale {
		fmt.Fprintf(b, "**At scale %v, where the page is of scale %v.**\n\n", w.By.Scale, r.Scale)
	}
	w.then(b)
	if w.Note != "" {
		b.WriteString(w.Note + "\n\n")
	}
	b.WriteString(w.table())
	for _, more := range []string{w.repeated(), w.ratios()} {
		if more != "" {
			b.WriteString("\n" + more)
		}
	}
	for _, p := range plots {
		fmt.Fprintf(b, "\n![%s](%s/%s)\n", p.title, folder, p.name)
	}
}

// then is what of a work's versions and settings is not as the page's foot has it now.
func (w *Work) then(b *strings.Builder) {
	for _, p := range w.By.Then {
		if !strings.Contains(p.Value, "\n") {
			fmt.Fprintf(b, "%s was %s then.\n\n", p.Name, p.Value)
			continue
		}
		fmt.Fprintf(b, "<details><summary>%s had other settings then</summary>\n\n```\n%s\n```\n\n</details>\n\n", p.Name, p.Value)
	}
}

// replace makes the folder beside the page anew, without plots of rows that are no more.
func (r *Results) replace(folder string, plots []plot) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range plots {
		if err := os.WriteFile(filepath.Join(folder, p.name), p.svg, 0o644); err != nil {
			return err
		}
	}
	return r.Save(filepath.Join(folder, kept))
}

func (r *Results) head(b *strings.Builder) {
	b.WriteString("# Performance\n\n")
	fmt.Fprintf(b, "Written by `%s` on %s, in %v.\n"+
		"The programs of a section ran on one machine, one after the other and in turn, on the same Kafka and the same\n"+
		"input.\n",
		r.Command, r.Began.UTC().Format("2006-01-02"), r.Took.Round(time.Second))
	if r.Scale != 1 {
		fmt.Fprintf(b, "\n**This is a run at scale %v: its figures show that everything works, and no more.**\n", r.Scale)
	}
	b.WriteString(`
- A figure is the median of its runs, of which there are as many as the row says, with the least and
  the most in brackets; "max" and "peak" are the highest of all runs. Rates on shared machines move by
  tens of percent within the hour, so compare within this page.
- The outputs of each run that writes some were read back by a read-committed reader and compared with
  a recount of the input; a row that does not agree says **wrong**.
- Rates, CPU and bytes to disk are taken from the moment at which a program says that it is running
  (tally and the limit: from the start of the process) to the commit of the last event; start-up is the
  last column. CPU is of the process and its children. Fresh brokers have had runs that do not count;
  programs have not: each run is of a new process, and a JVM compiles its code in it. tally is built
  with a profile of smaller works like (a) and (c), as it is for its users.
- ` + "`limit`" + ` is a bare program without state: it reads, folds what a transaction adds, and writes an
  output and a changelog record of tally's sizes a changed group. Its transactions end with the interval
  alone, where tally also ends one that has grown large: with many groups it writes fewer records than
  tally, up to a quarter in (c).
- The input lies in Kafka as it is sent, without compression; so does what tally and the limit write.
  PySpark's state is exact, its sink to Kafka is at-least-once.
`)
}

func (r *Results) foot(b *strings.Builder) {
	b.WriteString("\n## Machine, versions, settings\n\n| | |\n|---|---|\n")
	for _, p := range append(append([]Pair{}, r.Machine...), r.Versions...) {
		fmt.Fprintf(b, "| %s | %s |\n", p.Name, oneLine(p.Value))
	}
	fmt.Fprintf(b, "| seed of all events | %d |\n", r.Seed)
	b.WriteString("\nSettings that are not the program's defaults:\n")
	for _, p := range r.Settings {
		fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n```\n%s\n```\n\n</details>\n", p.Name, p.Value)
	}
	fmt.Fprintf(b, "\nTo get this page again: a JDK 17, Maven, Python 3 and Go, nothing else that is busy on the machine, and `%s`;\n"+
		"a section that names another command comes of that one.\n", r.Command)
}

// HandWritten is what stands below the marker of a page that is there, "" where there is none.
func HandWritten(path, marker string) (string, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	_, own, found := strings.Cut(string(text), marker+"\n")
	if !found {
		return "", fmt.Errorf("%s has no line %q, so that it would be lost: put it back, or move the file away", path, marker)
	}
	return own, nil
}
