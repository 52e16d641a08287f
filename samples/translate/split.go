package main

import (
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSentence is where a sentence without an end is cut, in bytes: translators have limits.
const maxSentence = 1000

// readSentences reads a text file and returns its first n sentences, or fewer if it has fewer.
func readSentences(path string, n int) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("-input cannot be read: %w; name a text file", err)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("-input %s is not UTF-8 text; convert it first (iconv -t UTF-8)", path)
	}
	sentences := splitSentences(string(text))
	if len(sentences) == 0 {
		return nil, fmt.Errorf("-input %s has no sentence: none of its lines holds a letter; name another file", path)
	}
	return sentences[:min(n, len(sentences))], nil
}

// splitSentences cuts a text into sentences.
//
// Normally each line is one, whatever stands in it. A text whose lines only wrap it, which shows where a line that does
// not end like a sentence is followed by one that starts with a small letter, is joined again: there a blank line ends
// a sentence, and so does a word with a full stop, exclamation mark, question mark, colon or semicolon behind it.
// What has no letter is left out, and what is longer than maxSentence is cut between two words.
func splitSentences(text string) []string {
	var sentences []string
	if !wrapped(text) {
		for line := range strings.Lines(text) {
			sentences = appendSentence(sentences, line)
		}
		return sentences
	}
	var paragraph strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			sentences = appendParagraph(sentences, paragraph.String())
			paragraph.Reset()
		}
		paragraph.WriteString(line)
	}
	return appendParagraph(sentences, paragraph.String())
}

func wrapped(text string) bool {
	unfinished := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if first, _ := utf8.DecodeRuneInString(line); unfinished && unicode.IsLower(first) {
			return true
		}
		unfinished = line != "" && !endsSentence(line)
	}
	return false
}

func appendParagraph(sentences []string, paragraph string) []string {
	words := strings.Fields(paragraph)
	start := 0
	for i, word := range words {
		if endsSentence(word) {
			sentences = appendSentence(sentences, strings.Join(words[start:i+1], " "))
			start = i + 1
		}
	}
	return appendSentence(sentences, strings.Join(words[start:], " "))
}

func appendSentence(sentences []string, s string) []string {
	for s = strings.TrimSpace(s); len(s) > maxSentence; {
		cut := strings.LastIndexByte(s[:maxSentence], ' ')
		if cut <= 0 {
			for cut = maxSentence; !utf8.RuneStart(s[cut]); cut-- {
			}
		}
		sentences = appendSentence(sentences, s[:cut])
		s = strings.TrimSpace(s[cut:])
	}
	if strings.IndexFunc(s, unicode.IsLetter) < 0 {
		return sentences
	}
	return append(sentences, s)
}

// endsSentence tells whether s ends with a sentence mark, closing quotes and brackets aside.
func endsSentence(s string) bool {
	s = strings.TrimRight(s, `"')]}»”’`)
	last, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && strings.ContainsRune(".!?:;…", last)
}

// chunk cuts sentences into the inputs of workflows: at most size sentences each, and at most maxBytes of text so that
// neither input nor result comes near the 2 MB that Temporal takes in one piece.
func chunk(sentences []string, size, maxBytes int) [][]string {
	var chunks [][]string
	for start := 0; start < len(sentences); {
		end, bytes := start, 0
		for end < len(sentences) && end-start < size && (end == start || bytes+len(sentences[end]) <= maxBytes) {
			bytes += len(sentences[end])
			end++
		}
		chunks = append(chunks, sentences[start:end])
		start = end
	}
	return chunks
}
