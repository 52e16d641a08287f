package main

import (
	"bytes"
	"html/template"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// plots are the case's, as SVG to put into a page.
func (c *caseReport) plots() ([]template.HTML, error) {
	var plots []template.HTML
	for _, draw := range []func() *plot.Plot{c.plotConcurrency, c.plotLatency, c.plotGrowth} {
		p := draw()
		if p == nil {
			continue
		}
		svg, err := render(p)
		if err != nil {
			return nil, err
		}
		plots = append(plots, svg)
	}
	return plots, nil
}

// plotConcurrency shows how many handlers ran at a time, in the last repetition of each variant.
func (c *caseReport) plotConcurrency() *plot.Plot {
	p := newPlot("Handlers running at a time", "seconds", "")
	drawn := 0
	for i, s := range c.last() {
		if s.Concurrency == nil || slices.Max(s.Concurrency.Running) < 2 {
			continue // handlers that end as they begin
		}
		points := make(plotter.XYs, len(s.Concurrency.Seconds))
		for k := range points {
			points[k] = plotter.XY{X: s.Concurrency.Seconds[k], Y: float64(s.Concurrency.Running[k])}
		}
		addLine(p, s.Variant, i, points)
		drawn++
	}
	if drawn == 0 {
		return nil
	}
	p.Y.Min, p.Y.Max = 0, p.Y.Max*legendRoom
	return p
}

// legendRoom keeps the legend clear of the lines.
const legendRoom = 1.25

// plotLatency shows which share of all was not slower than what, in the last repetition of each variant.
func (c *caseReport) plotLatency() *plot.Plot {
	p := newPlot("Share that took no longer: "+c.LatencyOf, "ms", "")
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	const least = 0.01 // ms; a logarithm has no zero
	drawn := 0
	for i, s := range c.last() {
		if s.Latency == nil || s.Latency.Max <= least {
			continue
		}
		points := make(plotter.XYs, len(curveShares))
		for k, share := range curveShares {
			points[k] = plotter.XY{X: max(least, s.Latency.Curve[k]), Y: share}
		}
		addLine(p, s.Variant, i, points)
		drawn++
	}
	if drawn == 0 {
		return nil
	}
	p.Y.Min, p.Y.Max = 0, legendRoom
	p.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: 0.25, Label: "25 %"}, {Value: 0.5, Label: "50 %"}, {Value: 0.75, Label: "75 %"}, {Value: 1, Label: "100 %"}}
	return p
}

// plotGrowth shows the wall time of every repetition over the number of tasks.
func (c *caseReport) plotGrowth() *plot.Plot {
	if !c.PlotsGrowth || len(c.Samples) == 0 {
		return nil
	}
	p := newPlot("Wall time by number of steps", "steps", "seconds")
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	var all, medians plotter.XYs
	for _, v := range c.variants() {
		var n int
		var walls []float64
		for _, s := range c.Samples {
			if s.Variant == v {
				n, walls = s.Tasks, append(walls, s.WallSeconds)
				all = append(all, plotter.XY{X: float64(s.Tasks), Y: s.WallSeconds})
			}
		}
		medians = append(medians, plotter.XY{X: float64(n), Y: summarize(walls).Median})
	}
	slices.SortFunc(medians, func(a, b plotter.XY) int { return int(a.X - b.X) })
	addLine(p, "median", 0, medians)
	if dots, err := plotter.NewScatter(all); err == nil {
		dots.Color, dots.Radius, dots.Shape = lineColor(0), vg.Points(2), draw.CircleGlyph{}
		p.Add(dots)
	}
	return p
}

// last is the last sample of each variant.
func (c *caseReport) last() []*sample {
	var last []*sample
	for _, v := range c.variants() {
		for _, s := range slices.Backward(c.Samples) {
			if s.Variant == v {
				last = append(last, s)
				break
			}
		}
	}
	return last
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	return p
}

func addLine(p *plot.Plot, name string, i int, points plotter.XYs) {
	line, err := plotter.NewLine(points)
	if err != nil {
		return // only for points that are no numbers
	}
	line.Color, line.Width = lineColor(i), vg.Points(1.4)
	p.Add(line)
	p.Legend.Add(name, line)
}

func lineColor(i int) color.Color {
	colors := []color.Color{
		color.RGBA{R: 0x09, G: 0x69, B: 0xda, A: 0xff}, color.RGBA{R: 0xbc, G: 0x4c, B: 0x00, A: 0xff},
		color.RGBA{R: 0x1a, G: 0x7f, B: 0x37, A: 0xff}, color.RGBA{R: 0x82, G: 0x50, B: 0xdf, A: 0xff},
		color.RGBA{R: 0x57, G: 0x60, B: 0x6a, A: 0xff},
	}
	return colors[i%len(colors)]
}

// render draws the plot as an SVG element.
func render(p *plot.Plot) (template.HTML, error) {
	canvas := vgsvg.New(5.2*vg.Inch, 3.2*vg.Inch)
	p.Draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	svg := b.Bytes()
	return template.HTML(svg[max(0, bytes.Index(svg, []byte("<svg"))):]), nil //nolint:gosec // drawn here, and it escapes its texts
}
