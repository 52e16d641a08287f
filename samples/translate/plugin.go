package main

import (
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
)

// usePlugin routes the three steps of the client that is made from options through Slipstream. This is all that
// slipstream mode changes. Close the plugin once the client's workers have stopped.
func usePlugin(options *client.Options, redisURL string, concurrency int, t *telemetry) (*plugin.Plugin, error) {
	var steps *Activities
	o := plugin.Options{
		RedisURL: redisURL,
		Marks: []activity.Mark{
			{Activity: steps.TranslateToSpanish},
			{Activity: steps.TranslateToEnglish},
			{Activity: "CountLetters"}, // a name does as well
		},
		Concurrency: concurrency,
	}
	t.usePlugin(&o)
	p, err := plugin.New(o)
	if err != nil {
		return nil, err
	}
	options.Plugins = append(options.Plugins, p)
	return p, nil
}
