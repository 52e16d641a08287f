package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
)

// count writes a number with thousands apart: 1,234,567.
func count(n int) string { return humanize.Comma(int64(n)) }

// plural is "1 workflow" or "2 workflows".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// format writes a number of the unit with three digits that mean something: 4.31 s, 12,400 /s.
func (u unit) format(v float64) string {
	if u == unitNone {
		return digits(v)
	}
	return digits(v) + " " + string(u)
}

func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return count(int(math.Round(v)))
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.1 || a == 0:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

// spread writes a summary: the median, and between what the repetitions lay.
func (u unit) spread(s summary) string {
	if s.Min == s.Max {
		return u.format(s.Median)
	}
	return fmt.Sprintf("%s [%s - %s]", u.format(s.Median), digits(s.Min), digits(s.Max))
}

// against writes what a row is compared with: "floor 4.00 s".
func (r row) against() string {
	if r.Other == nil {
		return r.Against
	}
	return r.Against + " " + r.Unit.spread(*r.Other)
}

// ratio writes "1.05 x" if the row has one.
func (r row) ratio() string {
	if r.Ratio == 0 {
		return ""
	}
	return digits(r.Ratio) + " x"
}

// target writes "<= 1.10 x floor" or ">= 5.00 s", or nothing where there is no target.
func (r row) target() string {
	switch {
	case r.Bound == "":
		return ""
	case r.Against == "":
		return fmt.Sprintf("%s %s", r.Bound, r.Unit.format(r.Limit))
	default:
		return fmt.Sprintf("%s %s x %s", r.Bound, digits(r.Limit), r.Against)
	}
}

// verdict writes "met", or by how much it was missed.
func (r row) verdict() string {
	if r.Verdict == missed {
		return fmt.Sprintf("missed by %s %%", digits(100*r.MissedBy))
	}
	return string(r.Verdict)
}
