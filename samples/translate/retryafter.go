package main

import (
	"net/http"
	"strconv"
	"time"
)

// longestRetryAfter bounds what retryAfter returns: more is a mistake of the server, and could overflow.
const longestRetryAfter = 24 * time.Hour

// retryAfter reads the header of that name in both its forms, seconds and a date. 0 means that it says nothing
// usable, and lets the retry policy choose.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, longestRetryAfter)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), longestRetryAfter)
	}
	return 0
}
