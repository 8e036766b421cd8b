package onboarding

import (
	"context"
	"log/slog"
	"regexp"

	"github.com/usher-dev/usher/internal/access"
)

var addressLike = regexp.MustCompile(`\S+@\S+`)

// Masked makes the other side's words fit for a log: they may name the customer.
func Masked(words string) string { return addressLike.ReplaceAllStringFunc(words, access.Mask) }

// riverLog passes River's warnings and errors on, as warnings: what matters to an operator is logged by us,
// once, in plain words.
type riverLog struct{ slog.Handler }

func (h riverLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, slog.LevelWarn)
}

func (h riverLog) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelWarn
	return h.Handler.Handle(ctx, r)
}

func (h riverLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return riverLog{h.Handler.WithAttrs(attrs)}
}
func (h riverLog) WithGroup(name string) slog.Handler { return riverLog{h.Handler.WithGroup(name)} }
