package main

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// mock stands in for a translation service: it takes its time and returns something that looks translated, always
// the same for the same sentence. It replaces word by word; words outside the vocabulary get a Spanish-looking ending,
// which is taken off on the way back.
type mock struct {
	latency time.Duration
	words   [2]map[string]string // by direction
}

// ending marks words that the vocabulary does not have.
const ending = "ito"

func newMock(latency time.Duration) mock {
	return mock{latency: latency, words: [2]map[string]string{dictionary(toSpanish), dictionary(toEnglish)}}
}

// Deterministic reports true.
func (mock) Deterministic() bool { return true }

// Translate waits for the latency and returns the sentence in the other language, or ctx's error if that ends first.
func (m mock) Translate(ctx context.Context, d direction, sentence string) (string, error) {
	if err := wait(ctx, m.latency); err != nil {
		return "", err
	}
	var out strings.Builder
	for len(sentence) > 0 {
		word, rest := cutWord(sentence)
		out.WriteString(m.word(d, word))
		next := strings.IndexFunc(rest, unicode.IsLetter)
		if next < 0 {
			next = len(rest)
		}
		out.WriteString(rest[:next])
		sentence = rest[next:]
	}
	return out.String(), nil
}

func (m mock) word(d direction, word string) string {
	if word == "" {
		return ""
	}
	if translated, ok := m.words[d][strings.ToLower(word)]; ok {
		return matchCase(word, translated)
	}
	if d == toSpanish {
		return word + ending
	}
	return strings.TrimSuffix(word, ending)
}

// cutWord splits off the letters (and hyphens between them) that s starts with.
func cutWord(s string) (word, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && r != '-' })
	if end < 0 {
		end = len(s)
	}
	word = strings.TrimRight(s[:end], "-")
	return word, s[len(word):]
}

// matchCase gives word the capital that like starts with.
func matchCase(like, word string) string {
	if first, _ := utf8.DecodeRuneInString(like); !unicode.IsUpper(first) {
		return word
	}
	first, size := utf8.DecodeRuneInString(word)
	return string(unicode.ToUpper(first)) + word[size:]
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
