package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/go-analyze/charts"

	"github.com/tally-kafka/tally/bench/trial"
)

// A plot is an SVG file.
type plot struct {
	name, title string
	svg         []byte
}

// plots are those of a work that say more than its table.
func (w *Work) plots() ([]plot, error) {
	var all []plot
	add := func(name, title string, rows []*Row, of func(trial.Figures) float64) error {
		p, err := bars(name, title, rows, of)
		if err == nil && p != nil {
			all = append(all, *p)
		}
		return err
	}
	rows := w.sound()
	var err error
	switch w.Kind {
	case Throughput:
		err = add(w.ID+"-rate.svg", "("+w.ID+") thousand events a second, more is better", rows,
			func(f trial.Figures) float64 { return f.EventsPerSec / 1000 })
		if err == nil {
			err = add(w.ID+"-cpu.svg", "("+w.ID+") CPU seconds a million events, less is better", rows,
				func(f trial.Figures) float64 { return f.CPUPerM })
		}
	case Latency:
		var p *plot
		if p, err = w.percentiles(rows); err == nil && p != nil {
			all = append(all, *p)
		}
	case Restart:
		err = add(w.ID+"-restart.svg", "("+w.ID+") ms from the start to the first output, less is better", rows,
			func(f trial.Figures) float64 { return f.FirstOutputMs })
	}
	return all, err
}

// sound are the rows whose figures count.
func (w *Work) sound() []*Row {
	var rows []*Row
	for _, r := range w.Rows {
		if len(r.Runs) > 0 && r.Wrong() == "" {
			rows = append(rows, r)
		}
	}
	return rows
}

func (r *Row) label() string {
	if r.Interval == 0 {
		return r.title()
	}
	return fmt.Sprintf("%s, %s", r.title(), r.commit())
}

// bars draws one bar a row, the first on top.
func bars(name, title string, rows []*Row, of func(trial.Figures) float64) (*plot, error) {
	var values []float64
	var labels []string
	for _, r := range rows {
		if median, _, _ := r.spread(of); median > 0 {
			values, labels = append(values, median), append(labels, r.label())
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	slices.Reverse(values) // the library begins at the bottom
	slices.Reverse(labels)
	opt := charts.NewBarChartOptionWithData([][]float64{values})
	opt.Horizontal = true
	opt.Title.Text = title
	opt.CategoryAxis.Labels = labels
	opt.ValueAxis[0].Min = charts.Ptr(0.0) // a bar's length is what it says
	opt.ValueAxis[0].LabelCount = 5
	opt.ValueFormatter = number
	opt.Legend.Show = charts.Ptr(false)
	opt.SeriesList[0].Label.Show = charts.Ptr(true)
	opt.SeriesList[0].Label.ValueFormatter = number
	opt.Padding = charts.Box{Top: 15, Right: 70, Bottom: 10, Left: 15}
	return draw(name, title, 90+34*len(values), func(p *charts.Painter) error { return p.BarChart(opt) })
}

// percentiles draws a line a row over the percentiles of its latency. The scale is that of
// powers: the plot holds logarithms, and its axis says what they stand for.
func (w *Work) percentiles(rows []*Row) (*plot, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	of := []func(trial.Figures) float64{
		func(f trial.Figures) float64 { return f.P50 }, func(f trial.Figures) float64 { return f.P95 },
		func(f trial.Figures) float64 { return f.P99 }, func(f trial.Figures) float64 { return f.P999 },
		func(f trial.Figures) float64 { return f.Max },
	}
	var values [][]float64
	var names []string
	for _, r := range rows {
		var line []float64
		for i, figure := range of {
			value, _, high := r.spread(figure)
			if i == len(of)-1 {
				value = high // as in the table
			}
			line = append(line, math.Log10(max(value, 1)))
		}
		values, names = append(values, line), append(names, r.label())
	}
	title := "(" + w.ID + ") ms from an event's timestamp to its count, less is better"
	opt := charts.NewLineChartOptionWithData(values)
	opt.Title.Text = title
	opt.YAxis[0].Min, opt.YAxis[0].Max = charts.Ptr(0.0), charts.Ptr(math.Ceil(highest(values)))
	opt.YAxis[0].Unit = 1
	opt.YAxis[0].LabelCount = int(math.Ceil(highest(values))) + 1
	opt.ValueFormatter = func(v float64) string { return number(math.Pow(10, v)) }
	opt.XAxis.Labels = []string{"p50", "p95", "p99", "p99.9", "max"}
	opt.Legend.SeriesNames = names
	opt.Legend.Vertical = charts.Ptr(true)
	opt.Legend.Offset = charts.OffsetStr{Top: "30", Left: "60"}
	opt.Padding = charts.Box{Top: 15, Right: 20, Bottom: 10, Left: 15}
	return draw(fmt.Sprintf("%s-latency.svg", w.ID), title, 420, func(p *charts.Painter) error { return p.LineChart(opt) })
}

func highest(lines [][]float64) float64 {
	most := 0.0
	for _, line := range lines {
		most = max(most, slices.Max(line))
	}
	return most
}

func draw(name, title string, height int, on func(*charts.Painter) error) (*plot, error) {
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 860, Height: height})
	if err := on(p); err != nil {
		return nil, fmt.Errorf("plot %s: %w", name, err)
	}
	svg, err := p.Bytes()
	return &plot{name, title, svg}, err
}
