package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
)

// picky refuses sentences with a certain word.
type picky struct{ mock }

func (p picky) Translate(ctx context.Context, d direction, sentence string) (string, error) {
	if strings.Contains(sentence, "forbidden") {
		return "", temporal.NewNonRetryableApplicationError("will not say that", "Picky", nil)
	}
	return p.mock.Translate(ctx, d, sentence)
}

func TestWorkflowReportsAFailedSentenceInItsPlace(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterActivity(&Activities{translator: picky{newMock(0)}, stepDone: func() {}})
	env.ExecuteWorkflow(Translate, []string{"The cat.", "A forbidden word.", "The dog."})
	require.NoError(t, env.GetWorkflowError())
	var results []Translation
	require.NoError(t, env.GetWorkflowResult(&results))
	require.Len(t, results, 3)
	require.Equal(t, Translation{Spanish: "El gato.", English: "The cat.", Letters: 6}, results[0])
	require.Contains(t, results[1].Error, "will not say that")
	require.Equal(t, Translation{Spanish: "El perro.", English: "The dog.", Letters: 6}, results[2])
}

func TestApertiumTranslates(t *testing.T) {
	a, err := newApertium(t.Context())
	if err != nil {
		t.Skip(err)
	}
	spanish, err := a.Translate(t.Context(), toSpanish, "This is a house.")
	require.NoError(t, err)
	require.Contains(t, strings.ToLower(spanish), "una casa")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = a.Translate(ctx, toSpanish, "This is a house.")
	require.ErrorIs(t, err, context.Canceled)
}

func TestApertiumMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := newApertium(t.Context())
	require.ErrorContains(t, err, "apt-get install apertium apertium-eng-spa")
}
