package main

import (
	"fmt"
	"strings"
)

// builtinSentences makes n English sentences, always the same ones, from the vocabulary.
func builtinSentences(n int) []string {
	sentences := make([]string, n)
	for i := range sentences {
		sentences[i] = builtinSentence(i)
	}
	return sentences
}

// builtinSentence is the i-th of some ten million different sentences. It reads its words off a counter in mixed
// radix, which a stride coprime to every radix walks in an order that does not look like one.
func builtinSentence(i int) string {
	const stride = 1_299_709
	v := vocabulary
	place := i * stride
	pick := func(words [][2]string) string {
		word := words[place%len(words)][0]
		place /= len(words)
		return word
	}
	adjective, subject, verb, object, where := pick(v.adjectives), pick(v.nouns), pick(v.verbs), pick(v.nouns), pick(v.places)
	sentence := fmt.Sprintf("the %s %s %s the %s %s near the %s %s.", adjective, subject, verb, pick(v.adjectives), object, where, pick(v.times))
	return strings.ToUpper(sentence[:1]) + sentence[1:]
}
