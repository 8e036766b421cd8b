package handlers

import "context"

// trialKey is where a request carries that Usher sends it to itself, to try a source. A request from the network has
// the context that its server made, so that it can never be one.
type trialKey struct{}

func isTrial(ctx context.Context) bool { return ctx.Value(trialKey{}) != nil }
