package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMockFindsTheWayBack(t *testing.T) {
	m := newMock(0)
	sentences := append(builtinSentences(2000), "Café, “naïve” & co-operation: 42 -x-.", "", "ÑANDÚ")
	for _, s := range sentences {
		spanish, err := m.Translate(t.Context(), toSpanish, s)
		require.NoError(t, err)
		again, err := m.Translate(t.Context(), toSpanish, s)
		require.NoError(t, err)
		require.Equal(t, spanish, again)
		back, err := m.Translate(t.Context(), toEnglish, spanish)
		require.NoError(t, err)
		require.Equal(t, s, back, spanish)
	}
	spanish, err := m.Translate(t.Context(), toSpanish, "The old sailor sees a cat.")
	require.NoError(t, err)
	require.Equal(t, "El viejo marinero ve aito gato.", spanish)
}

func TestMockLatencyEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newMock(time.Hour).Translate(ctx, toSpanish, "A cat.")
	require.ErrorIs(t, err, context.Canceled)
}

func TestBuiltinSentencesDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range builtinSentences(200_000) {
		require.False(t, seen[s], s)
		seen[s] = true
	}
	require.Equal(t, builtinSentences(5), builtinSentences(10)[:5])
}

func TestVocabularyHasNoWordTwice(t *testing.T) {
	words := 2
	for _, list := range [][][2]string{vocabulary.adjectives, vocabulary.nouns, vocabulary.verbs, vocabulary.places, vocabulary.times} {
		words += len(list)
	}
	require.Len(t, dictionary(toSpanish), words)
	require.Len(t, dictionary(toEnglish), words)
}

func TestCountLetters(t *testing.T) {
	steps := 0
	a := &Activities{stepDone: func() { steps++ }}
	n, err := a.CountLetters(t.Context(), "El niño, ¿25 años?")
	require.NoError(t, err)
	require.Equal(t, 10, n)
	require.Equal(t, 1, steps)
}
