package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
)

// clock is what the translator under test takes for now.
var clock = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// newAnthropicAt is a translator against a server that answers the check of the key, and messages with reply.
func newAnthropicAt(t *testing.T, reply http.HandlerFunc) *anthropic {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("POST /v1/messages", reply)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	a, err := newAnthropic(t.Context(), anthropicConfig{baseURL: server.URL + "/", key: "key", model: "some-model"})
	require.NoError(t, err)
	a.now = func() time.Time { return clock }
	t.Cleanup(a.http.CloseIdleConnections)
	return a
}

func TestAnthropicTranslates(t *testing.T) {
	a := newAnthropicAt(t, func(w http.ResponseWriter, r *http.Request) {
		var request messagesRequest
		body, _ := io.ReadAll(r.Body)
		if json.Unmarshal(body, &request) != nil || r.Header.Get("x-api-key") != "key" || r.Header.Get("anthropic-version") == "" ||
			request.Model != "some-model" || request.MaxTokens == 0 || request.System != prompts[toSpanish] ||
			len(request.Messages) != 1 || request.Messages[0] != (message{Role: "user", Content: "The cat."}) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write(body)
			return
		}
		_, _ = io.WriteString(w, `{"stop_reason":"end_turn","content":[{"type":"text","text":" El "},{"type":"text","text":"gato. \n"}]}`)
	})
	spanish, err := a.Translate(t.Context(), toSpanish, "The cat.")
	require.NoError(t, err)
	require.Equal(t, "El gato.", spanish)
}

func TestAnthropicErrors(t *testing.T) {
	const body = `{"type":"error","error":{"type":"x","message":"the reason"}}`
	for name, tc := range map[string]struct {
		status     int
		retryAfter string
		body       string
		errType    string // empty: not an application error
		retryable  bool
		delay      time.Duration
		want       string
	}{
		"rate limit, seconds":  {429, "7", body, errTypeBusy, true, 7 * time.Second, "429 Too Many Requests: the reason"},
		"rate limit, date":     {429, clock.Add(90 * time.Second).Format(http.TimeFormat), body, errTypeBusy, true, 90 * time.Second, "the reason"},
		"rate limit, past":     {429, clock.Add(-time.Hour).Format(http.TimeFormat), body, errTypeBusy, true, 0, "the reason"},
		"rate limit, no word":  {429, "", body, errTypeBusy, true, 0, "the reason"},
		"overloaded":           {529, "3", body, errTypeBusy, true, 3 * time.Second, "529"},
		"server error":         {500, "", "<html>oops", errTypeBusy, true, 0, "<html>oops"},
		"unavailable":          {503, "nonsense", body, errTypeBusy, true, 0, "503"},
		"bad request":          {400, "5", body, errTypeRefused, false, 0, "400 Bad Request: the reason"},
		"unknown model":        {404, "", body, errTypeRefused, false, 0, "404"},
		"bad key":              {401, "", body, errTypeRefused, false, 0, "401"},
		"cut off by the limit": {200, "", `{"stop_reason":"max_tokens","content":[{"type":"text","text":"El"}]}`, errTypeRefused, false, 0, "max_tokens"},
		"refusal":              {200, "", `{"stop_reason":"refusal","content":[]}`, errTypeRefused, false, 0, "refusal"},
		"no text":              {200, "", `{"stop_reason":"end_turn","content":[]}`, errTypeRefused, false, 0, "without text"},
		"half a reply":         {200, "", `{"stop_reason":"end`, "", true, 0, "unreadable reply"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnthropicAt(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.retryAfter != "" {
					w.Header().Set("Retry-After", tc.retryAfter)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := a.Translate(t.Context(), toEnglish, "El gato.")
			require.ErrorContains(t, err, tc.want)
			var application *temporal.ApplicationError
			if tc.errType == "" {
				require.NotErrorAs(t, err, &application)
				return
			}
			require.ErrorAs(t, err, &application)
			require.Equal(t, tc.errType, application.Type())
			require.Equal(t, tc.retryable, !application.NonRetryable())
			require.Equal(t, tc.delay, application.NextRetryDelay())
		})
	}
}

func TestAnthropicNetworkErrorsAreRetried(t *testing.T) {
	a := newAnthropicAt(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	_, err := a.Translate(t.Context(), toSpanish, "The cat.")
	require.Error(t, err)
	var application *temporal.ApplicationError
	require.NotErrorAs(t, err, &application, "a plain error follows the retry policy")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.Translate(ctx, toSpanish, "The cat.")
	require.ErrorIs(t, err, context.Canceled)
}

func TestAnthropicIsCheckedAtTheStart(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"message":"invalid x-api-key"}}`)
	}))
	defer refusing.Close()
	gateway := httptest.NewServer(http.NotFoundHandler())
	defer gateway.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	for name, tc := range map[string]struct {
		url, key, want string
	}{
		"no key":                 {refusing.URL, "", "ANTHROPIC_API_KEY"},
		"no URL":                 {"api.anthropic.com", "k", "is not an http or https URL"},
		"refused":                {refusing.URL, "k", "invalid x-api-key"},
		"nobody there":           {gone.URL, "k", "nothing answers at"},
		"gateway without models": {gateway.URL, "k", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newAnthropic(t.Context(), anthropicConfig{baseURL: tc.url, key: tc.key})
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"12":                            12 * time.Second,
		"-5":                            0,
		"1.5":                           0,
		"999999999":                     longestRetryAfter,
		"99999999999999999999999999":    0,
		"Mon, 04 May 2026 03:02:31 GMT": 30 * time.Second,
		"Sun, 03 May 2026 03:02:31 GMT": 0,
		"soon":                          0,
	} {
		require.Equal(t, want, retryAfter(header, clock), header)
	}
}
