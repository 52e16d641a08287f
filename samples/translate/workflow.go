package main

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// Translation is what became of one sentence. Error is empty unless one of its steps failed for good.
type Translation struct {
	Spanish string `json:"spanish,omitempty"`
	English string `json:"english,omitempty"`
	Letters int    `json:"letters,omitempty"`
	Error   string `json:"error,omitempty"`
}

// steps is how many of its steps gave a result.
func (t Translation) steps() int {
	switch {
	case t.Spanish == "":
		return 0
	case t.English == "":
		return 1
	case t.Error != "":
		return 2
	default:
		return stepsPerSentence
	}
}

// Translate runs one pipeline of three activities for each sentence, all of them side by side, and returns their
// results in the order of the sentences. A sentence that fails is reported in its place and fails nothing else.
//
// Nothing here knows of Slipstream: both modes run this workflow as it stands.
func Translate(ctx workflow.Context, sentences []string) ([]Translation, error) {
	ctx = workflow.WithActivityOptions(ctx, stepOptions)
	results := make([]Translation, len(sentences))
	pipelines := workflow.NewWaitGroup(ctx)
	for i, sentence := range sentences {
		pipelines.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer pipelines.Done()
			var err error
			if results[i], err = pipeline(ctx, sentence); err != nil {
				results[i].Error = err.Error()
			}
		})
	}
	pipelines.Wait(ctx)
	return results, ctx.Err()
}

// pipeline takes one sentence to Spanish and back, and counts the letters of what came back.
func pipeline(ctx workflow.Context, sentence string) (t Translation, err error) {
	var steps *Activities
	if err = workflow.ExecuteActivity(ctx, steps.TranslateToSpanish, sentence).Get(ctx, &t.Spanish); err != nil {
		return t, err
	}
	if err = workflow.ExecuteActivity(ctx, steps.TranslateToEnglish, t.Spanish).Get(ctx, &t.English); err != nil {
		return t, err
	}
	err = workflow.ExecuteActivity(ctx, steps.CountLetters, t.English).Get(ctx, &t.Letters)
	return t, err
}

// stepOptions leaves room for handlers that wait for a slow translator.
var stepOptions = workflow.ActivityOptions{
	StartToCloseTimeout: 10 * time.Minute,
	RetryPolicy:         retryPolicy,
}
