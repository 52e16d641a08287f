package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
)

// anthropicConfig is how to reach the Messages API.
type anthropicConfig struct {
	baseURL string
	key     string
	model   string
}

// anthropic translates through the Anthropic Messages API.
type anthropic struct {
	config anthropicConfig
	http   *http.Client
	now    func() time.Time
}

const (
	anthropicVersion = "2023-06-01"
	maxReplyTokens   = 2048
	maxReplyBytes    = 1 << 20
	// Error types of the activities, for retry policies and for whoever reads a history.
	errTypeBusy    = "AnthropicBusy"
	errTypeRefused = "AnthropicRefused"
)

var prompts = [2]string{
	toSpanish: "Translate the user's English sentence to Spanish. Reply with the translation alone.",
	toEnglish: "Translate the user's Spanish sentence to English. Reply with the translation alone.",
}

// newAnthropic checks what it can without spending tokens: the address, the key, and that the API knows the key.
func newAnthropic(ctx context.Context, c anthropicConfig) (*anthropic, error) {
	if c.key == "" {
		return nil, errors.New("-translator anthropic needs a key: set ANTHROPIC_API_KEY, or -anthropic-key")
	}
	if u, err := url.Parse(c.baseURL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("-anthropic-base-url %q is not an http or https URL; the default is %s", c.baseURL, anthropicBaseURL)
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 256, // handlers call side by side: reconnecting each time would cost more than asking
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	a := &anthropic{config: c, http: &http.Client{Transport: transport}, now: time.Now}
	if err := a.checkKey(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// checkKey asks for the list of models. Gateways that have no such list pass: the first sentence will tell.
func (a *anthropic) checkKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	response, err := a.do(ctx, http.MethodGet, "/v1/models", nil)
	if err != nil {
		return fmt.Errorf("-translator anthropic: nothing answers at %s: %w; check the network, or set -anthropic-base-url", a.config.baseURL, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden {
		return fmt.Errorf("-translator anthropic: %s refuses the key (%s): %s; set ANTHROPIC_API_KEY to a valid one", a.config.baseURL, response.Status, errorMessage(response.Body))
	}
	return nil
}

// Deterministic reports false: a language model may word things differently each time.
func (*anthropic) Deterministic() bool { return false }

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type messagesRequest struct {
	Model     string    `json:"model"`
	MaxTokens int       `json:"max_tokens"`
	System    string    `json:"system"`
	Messages  []message `json:"messages"`
}

type messagesReply struct {
	StopReason string `json:"stop_reason"`
	Content    []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	} `json:"content"`
}

// Translate asks the model once. Overload and rate limits are returned as errors that carry the delay which the
// server asked for, so that the activity's retry policy waits as long; what no retry can cure is non-retryable.
func (a *anthropic) Translate(ctx context.Context, d direction, sentence string) (string, error) {
	body, err := json.Marshal(messagesRequest{
		Model:     a.config.model,
		MaxTokens: maxReplyTokens,
		System:    prompts[d],
		Messages:  []message{{Role: "user", Content: sentence}},
	})
	if err != nil {
		return "", err
	}
	response, err := a.do(ctx, http.MethodPost, "/v1/messages", body)
	if err != nil {
		return "", fmt.Errorf("anthropic: %w", err) // the network: retried
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", a.statusError(response)
	}
	var reply messagesReply
	if err := json.NewDecoder(io.LimitReader(response.Body, maxReplyBytes)).Decode(&reply); err != nil {
		return "", fmt.Errorf("anthropic: unreadable reply: %w", err) // cut off on the way: retried
	}
	return reply.text()
}

func (a *anthropic) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(a.config.baseURL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("x-api-key", a.config.key)
	request.Header.Set("anthropic-version", anthropicVersion)
	request.Header.Set("content-type", "application/json")
	return a.http.Do(request)
}

// text is the translation, unless the model stopped before it had said all.
func (r messagesReply) text() (string, error) {
	if r.StopReason != "end_turn" && r.StopReason != "stop_sequence" {
		return "", temporal.NewNonRetryableApplicationError("anthropic: no whole translation, the model stopped with "+r.StopReason, errTypeRefused, nil)
	}
	var text strings.Builder
	for _, block := range r.Content {
		if block.Type == "text" {
			text.WriteString(block.Text)
		}
	}
	translation := strings.TrimSpace(text.String())
	if translation == "" {
		return "", temporal.NewNonRetryableApplicationError("anthropic: the model replied without text", errTypeRefused, nil)
	}
	return translation, nil
}

func (a *anthropic) statusError(response *http.Response) error {
	text := fmt.Sprintf("anthropic: %s: %s", response.Status, errorMessage(response.Body))
	busy := response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500 // with 529, "overloaded"
	if !busy {
		return temporal.NewNonRetryableApplicationError(text, errTypeRefused, nil)
	}
	return temporal.NewApplicationErrorWithOptions(text, errTypeBusy, temporal.ApplicationErrorOptions{
		NextRetryDelay: retryAfter(response.Header.Get("Retry-After"), a.now()),
	})
}

// errorMessage is the API's own message, or the start of whatever came instead of one.
func errorMessage(body io.Reader) string {
	const keep = 300
	raw, _ := io.ReadAll(io.LimitReader(body, maxReplyBytes)) // a broken body still leaves the status to report
	var reply struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &reply) == nil && reply.Error.Message != "" {
		return reply.Error.Message
	}
	return strings.ToValidUTF8(string(raw[:min(len(raw), keep)]), "")
}
