package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// show writes v as JSON if that was asked for, else what human writes.
func (a *app) show(v any, human func(w io.Writer)) error {
	if a.flags.json {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.StripEscape)
	human(w)
	return w.Flush()
}

// done says what was done, by the command's name for it.
func (a *app) done(v any, format string, args ...any) error {
	return a.show(v, func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) })
}

// row writes a line of a table.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Duration:
			texts[i] = age(c)
		case string:
			texts[i] = c
			if c == "" {
				texts[i] = "-"
			}
		default:
			texts[i] = fmt.Sprint(c)
		}
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}

// age is a duration as people read it: two units at most.
func age(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// size is a number of bytes as people read it.
func size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 1000<<20:
		return fmt.Sprintf("%.3g MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.3g GiB", float64(n)/(1<<30))
	}
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// plural is "1 task", "2 tasks".
func plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// outcome names how a task ended.
func outcome(k batchqueue.Kind) string {
	switch k {
	case batchqueue.KindCompleted:
		return "completed"
	case batchqueue.KindFailed:
		return "failed"
	case batchqueue.KindCanceled:
		return "canceled"
	case batchqueue.KindScheduleToStart:
		return "schedule-to-start time-out"
	case batchqueue.KindScheduleToClose:
		return "schedule-to-close time-out"
	case batchqueue.KindStartToClose:
		return "start-to-close time-out"
	case batchqueue.KindHeartbeat:
		return "heartbeat time-out"
	case batchqueue.KindPoison:
		return "dead letter"
	}
	return ""
}
