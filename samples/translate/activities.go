package main

import (
	"context"
	"unicode"

	"go.temporal.io/sdk/temporal"
)

// stepsPerSentence is how many activities Translate calls for each sentence.
const stepsPerSentence = 3

// retryPolicy is Temporal's default but for an end: a translator that never answers must not hang the run.
var retryPolicy = &temporal.RetryPolicy{MaximumAttempts: 10}

// Activities are the three steps of a pipeline.
type Activities struct {
	translator Translator
	// stepDone is called after each step that succeeded, from many goroutines.
	stepDone func()
}

// TranslateToSpanish translates an English sentence.
func (a *Activities) TranslateToSpanish(ctx context.Context, sentence string) (string, error) {
	return a.translate(ctx, toSpanish, sentence)
}

// TranslateToEnglish translates a Spanish sentence.
func (a *Activities) TranslateToEnglish(ctx context.Context, sentence string) (string, error) {
	return a.translate(ctx, toEnglish, sentence)
}

// CountLetters counts the letters of a sentence, not its spaces, digits and punctuation.
func (a *Activities) CountLetters(_ context.Context, sentence string) (int, error) {
	letters := 0
	for _, r := range sentence {
		if unicode.IsLetter(r) {
			letters++
		}
	}
	a.stepDone()
	return letters, nil
}

func (a *Activities) translate(ctx context.Context, d direction, sentence string) (string, error) {
	translated, err := a.translator.Translate(ctx, d, sentence)
	if err != nil {
		return "", err
	}
	a.stepDone()
	return translated, nil
}
