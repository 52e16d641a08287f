package main

import (
	"context"
	"fmt"
)

// A direction is one of the two ways to translate.
type direction int

const (
	toSpanish direction = iota
	toEnglish
)

// A Translator translates one sentence at a time and is safe for concurrent use.
type Translator interface {
	// Translate returns sentence in the other language. It returns early when ctx ends. Errors that another
	// attempt may cure are plain errors, others are non-retryable Temporal application errors.
	Translate(ctx context.Context, d direction, sentence string) (string, error)
	// Deterministic tells whether the same sentence always has the same translation. Only then must two runs agree.
	Deterministic() bool
}

// newTranslator makes the translator that c names and checks that it can work.
func newTranslator(ctx context.Context, c config) (Translator, error) {
	switch c.translator {
	case "mock":
		return newMock(c.latency), nil
	case "apertium":
		return newApertium(ctx)
	case "anthropic":
		return newAnthropic(ctx, c.anthropic)
	default:
		return nil, fmt.Errorf("-translator %q is not known; use mock, apertium or anthropic", c.translator)
	}
}
