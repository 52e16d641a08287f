package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplitSentences(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"one a line":               {"The cat sleeps.\nA dog barks.\n", []string{"The cat sleeps.", "A dog barks."}},
		"one a line, no full stop": {"The cat sleeps\nA dog barks\n", []string{"The cat sleeps", "A dog barks"}},
		"a line stays whole":       {"Stop! Who goes there?\nNobody.\n", []string{"Stop! Who goes there?", "Nobody."}},
		"Windows line ends":        {"One.\r\nTwo.\r\n", []string{"One.", "Two."}},
		"blank lines":              {"\n\nOne.\n\n\nTwo.", []string{"One.", "Two."}},
		"wrapped":                  {"The cat sleeps on\nthe mat. A dog\nbarks.\n", []string{"The cat sleeps on the mat.", "A dog barks."}},
		"wrapped, blank line ends": {"  A heading\n\nThe cat sleeps on\nthe mat\n\nA dog.", []string{"A heading", "The cat sleeps on the mat", "A dog."}},
		"quotes and brackets":      {"He said\n\"no.\" (She left!) They\nstayed.", []string{`He said "no."`, "(She left!)", "They stayed."}},
		"numbers are no sentences": {"1.\nOne\nof many.\n----\n", []string{"One of many."}},
		"nothing":                  {" \n\t\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, splitSentences(tc.text))
		})
	}
}

func TestLongSentencesAreCutBetweenWords(t *testing.T) {
	text := strings.Repeat("palabra ", 400)
	parts := splitSentences(text)
	require.Greater(t, len(parts), 1)
	for _, p := range parts {
		require.LessOrEqual(t, len(p), maxSentence)
		require.True(t, strings.HasPrefix(p, "palabra") && strings.HasSuffix(p, "palabra"))
	}
	require.Equal(t, strings.Fields(text), strings.Fields(strings.Join(parts, " ")))

	// Without a space the cut must at least not split a rune.
	require.Equal(t, strings.Repeat("ñ", 1200), strings.Join(splitSentences(strings.Repeat("ñ", 1200)), ""))
}

func TestReadSentences(t *testing.T) {
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "input.txt")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	got, err := readSentences(write("One.\nTwo.\nThree.\n"), 2)
	require.NoError(t, err)
	require.Equal(t, []string{"One.", "Two."}, got)

	for name, tc := range map[string]struct{ path, want string }{
		"missing": {filepath.Join(t.TempDir(), "none"), "-input cannot be read"},
		"folder":  {t.TempDir(), "-input cannot be read"},
		"empty":   {write(""), "has no sentence"},
		"binary":  {write("\xff\xfe\x00"), "is not UTF-8 text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readSentences(tc.path, 10)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func FuzzSplitSentences(f *testing.F) {
	f.Add("One. Two\nthree: four\n\nFive")
	f.Add(strings.Repeat("é", 3000))
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range splitSentences(text) {
			if s == "" || len(s) > maxSentence {
				t.Fatalf("sentence of %d bytes", len(s))
			}
		}
	})
}

func TestChunk(t *testing.T) {
	s := []string{"aa", "bb", "cc", "dd", "ee"}
	require.Equal(t, [][]string{{"aa", "bb"}, {"cc", "dd"}, {"ee"}}, chunk(s, 2, 100))
	require.Equal(t, [][]string{s}, chunk(s, 5, 100))
	require.Equal(t, [][]string{{"aa"}, {"bb"}, {"cc"}, {"dd"}, {"ee"}}, chunk(s, 5, 3), "text is bounded too")
	require.Equal(t, [][]string{{"aa"}, {"bb"}, {"cc"}, {"dd"}, {"ee"}}, chunk(s, 5, 1), "but for a sentence alone")
	require.Empty(t, chunk(nil, 5, 100))
}
