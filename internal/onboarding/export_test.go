package onboarding

import (
	"context"

	"github.com/usher-dev/usher/internal/ledger"
)

// DecideAll and Invite are what the stages do of one delivery and one job, for tests that are River's clock.
func (ob *Onboarding) DecideAll(ctx context.Context) { ob.decideAll(ctx) }

func (ob *Onboarding) Invite(ctx context.Context, job ledger.InviteJob) error {
	return ob.invite(ctx, job)
}
