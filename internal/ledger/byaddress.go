package ledger

import (
	"context"
	"strconv"
	"strings"

	"github.com/usher-dev/usher/internal/access"
)

// InvitationsOf returns the invitations that addresses have; an address without one is not in it.
func (l *Ledger) InvitationsOf(ctx context.Context, addresses []access.Address) (map[access.Address]Invitation, error) {
	found := map[access.Address]Invitation{}
	for len(addresses) > 0 {
		some := addresses[:l.together(len(addresses))]
		addresses = addresses[len(some):]
		marks, args := make([]string, len(some)), make([]any, len(some))
		for i, address := range some {
			marks[i], args[i] = "$"+strconv.Itoa(i+1), address.Full()
		}
		all, err := collect(ctx, l.read, scanInvitation,
			`select `+invitationColumns+` from invitations where email in (`+strings.Join(marks, ", ")+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, inv := range all {
			found[inv.Email] = inv
		}
	}
	return found, nil
}

// together is how many of n values go into one statement, so that only few statements differ.
func (l *Ledger) together(n int) int {
	for _, size := range l.grammar.groups {
		if size <= n {
			return size
		}
	}
	return n
}
