package ledger

import (
	"context"

	"github.com/usher-dev/usher/internal/access"
)

// InvitationsOf returns the invitations that addresses have; an address without one is not in it.
func (l *Ledger) InvitationsOf(ctx context.Context, addresses []access.Address) (map[access.Address]Invitation, error) {
	found := map[access.Address]Invitation{}
	for len(addresses) > 0 {
		some := addresses[:l.groupOf(len(addresses))]
		addresses = addresses[len(some):]
		args := make([]any, len(some))
		for i, address := range some {
			args[i] = address.Full()
		}
		all, err := collect(ctx, l.read, scanInvitation,
			`select `+invitationColumns+` from invitations where email in (`+placeholders(len(some), []string{""}, false)+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, inv := range all {
			found[inv.Email] = inv
		}
	}
	return found, nil
}

// groupOf is how many of n values go into one statement, so that only few statements differ.
func (l *Ledger) groupOf(n int) int {
	for _, size := range l.grammar.groups {
		if size <= n {
			return size
		}
	}
	return n
}
