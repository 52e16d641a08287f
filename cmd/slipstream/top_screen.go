package main

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// topModel is the screen of top.
type topModel struct {
	look   func(last snapshot) (snapshot, error)
	every  time.Duration
	title  string
	last   snapshot
	err    error // of the last look; what was seen before stays on the screen
	chosen int   // the pool whose types and executors are shown

	width, height int
}

type (
	lookNow struct{}
	looked  struct {
		snapshot snapshot
		err      error
	}
)

func (m topModel) Init() tea.Cmd { return m.wait() }

func (m topModel) wait() tea.Cmd {
	return tea.Tick(m.every, func(time.Time) tea.Msg { return lookNow{} })
}

func (m topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		case "up", "k":
			m.chosen = max(0, m.chosen-1)
		case "down", "j":
			m.chosen = min(m.chosen+1, max(0, len(m.last.rows)-1))
		}
	case lookNow:
		last := m.last
		return m, func() tea.Msg {
			now, err := m.look(last)
			return looked{now, err}
		}
	case looked:
		if m.err = msg.err; msg.err == nil {
			m.last = msg.snapshot
			m.chosen = min(m.chosen, max(0, len(m.last.rows)-1))
		}
		return m, m.wait()
	}
	return m, nil
}

var (
	bold    = lipgloss.NewStyle().Bold(true)
	faint   = lipgloss.NewStyle().Faint(true)
	reverse = lipgloss.NewStyle().Reverse(true)
	alarm   = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true)
)

func (m topModel) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	return v
}

func (m topModel) screen() string {
	lines := []string{
		bold.Render(m.fit("slipstream top  " + m.last.at.Format("15:04:05") + "  " + m.title)),
		m.fit(m.totals()),
		"",
	}
	pools := m.poolTable()
	// The chosen pool stays on the screen however many there are.
	room := max(1, min(len(pools)-1, m.height-len(lines)-4))
	from := max(0, m.chosen-room+1)
	for i, line := range pools {
		switch {
		case i == 0:
			lines = append(lines, bold.Render(m.fit(line)))
		case i-1 < from || i-1 >= from+room:
		case i-1 == m.chosen:
			lines = append(lines, reverse.Render(m.fit(line)))
		default:
			lines = append(lines, m.fit(line))
		}
	}
	if m.chosen < len(m.last.rows) {
		lines = append(lines, "")
		for _, line := range m.chosenPool(m.last.rows[m.chosen]) {
			lines = append(lines, m.fit(line))
		}
	}
	foot := faint.Render(m.fit("up and down choose a pool, q ends"))
	if m.err != nil {
		foot = alarm.Render(m.fit("no news since " + age(max(time.Since(m.last.at), time.Millisecond)) + ": " + m.err.Error()))
	}
	if most := m.height - 1; len(lines) > most {
		lines = lines[:max(0, most)]
	}
	return strings.Join(append(lines, foot), "\n")
}

// fit cuts a line to the screen's width.
func (m topModel) fit(line string) string {
	if r := []rune(line); len(r) > m.width {
		return string(r[:max(0, m.width)])
	}
	return line
}

func (m topModel) totals() string {
	var waiting, inFlight, dead int64
	var executors int
	var in, out float64
	for _, r := range m.last.rows {
		waiting, inFlight, dead = waiting+r.Waiting, inFlight+r.InFlight, dead+r.DeadLetters
		executors += r.Executors
		in, out = in+r.EnqueuedPerSecond, out+r.FinishedPerSecond
	}
	return fmt.Sprintf("%s, %s: %d waiting, %d in flight, %.0f/s in, %.0f/s out, %s",
		plural(len(m.last.rows), "pool"), plural(executors, "executor"), waiting, inFlight, in, out, plural(dead, "dead letter"))
}

// tableLines lays a table out.
func tableLines(write func(line func(cells ...any))) []string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	write(func(cells ...any) { row(w, cells...) })
	_ = w.Flush() // into memory
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

func (m topModel) poolTable() []string {
	return tableLines(func(line func(cells ...any)) {
		line("POOL", "STATE", "WAITING", "OLDEST", "IN FLIGHT", "PERMITS", "IN/S", "OUT/S", "DELAYED", "OUTBOX", "DEAD")
		for _, r := range m.last.rows {
			line(r.Pool, r.State, r.Waiting, r.oldest, r.InFlight, r.Permits, fmt.Sprintf("%.0f", r.EnqueuedPerSecond),
				fmt.Sprintf("%.0f", r.FinishedPerSecond), r.Delayed, r.Outbox, r.DeadLetters)
		}
	})
}

func (m topModel) chosenPool(r topRow) []string {
	types := tableLines(func(line func(cells ...any)) {
		line("TYPE", "WAITING", "OLDEST", "IN FLIGHT")
		for _, t := range r.stats.Types {
			line(t.Type, t.Waiting, t.OldestAge, t.Claimed)
		}
	})
	executors := tableLines(func(line func(cells ...any)) {
		line("WORKER", "STATE", "CLAIMS", "CONCURRENCY", "LEADS")
		for _, e := range r.executors {
			line(e.Worker, executorState(e), e.Claims, e.Concurrency, len(e.Leads))
		}
	})
	out := append([]string{r.Pool + ":"}, types...)
	return append(append(out, ""), executors...)
}
