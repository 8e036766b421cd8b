package onboarding

import (
	"context"

	"github.com/usher-dev/usher/internal/ledger"
)

// DecideAll, Invite, Revoke and Expire are what the stages do of deliveries and of one job, for tests that are River's
// clock.
func (ob *Onboarding) DecideAll(ctx context.Context) { ob.decideAll(ctx) }

func (ob *Onboarding) Revoke(ctx context.Context, job ledger.RevokeJob) error {
	return ob.revoke(ctx, job)
}

func (ob *Onboarding) Expire(ctx context.Context) error { return ob.expire(ctx) }

func (ob *Onboarding) Invite(ctx context.Context, job ledger.InviteJob) error {
	return ob.invite(ctx, job)
}
