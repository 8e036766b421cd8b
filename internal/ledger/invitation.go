package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/usher-dev/usher/internal/access"
)

// A State is how far an invitation got. docs/states.md has the diagram.
type State string

// The states of an invitation.
const (
	Held     State = "held"     // a person must approve it
	Queued   State = "queued"   // waits for its next attempt
	Sent     State = "sent"     // Retool has it
	Accepted State = "accepted" // the person came in
	Expired  State = "expired"  // Retool's link died unused
	Revoked  State = "revoked"  // taken back by a person
	Failed   State = "failed"   // given up, with the reason
)

// States lists every state, in the order of the road.
func States() []State { return []State{Held, Queued, Sent, Accepted, Expired, Revoked, Failed} }

// An Invitation is our promise about one address.
type Invitation struct {
	ID             int64
	Email          access.Address
	State          State
	Reason         string // why it is in this state, for people
	Groups         []int64
	Attributes     map[string]string
	SentGroups     []int64 // what Retool was told
	SentAttributes map[string]string
	Note           string
	Source         string // of the first event that asked for it
	Tries          int    // attempts counted in this run; a 429 is not counted
	Run            int
	Unsure         bool      // what Retool has of it is not known, such as after a call without an answer: look first
	Resend         bool      // what Retool has of it is still to be taken away, first of all
	Resent         int       // how often Usher itself had it sent again, since its link had died
	RetoolID       int64     // the invite that Retool has, as far as we know
	CorrectedTo    int64     // the invitation that took its place, where its address was wrong
	NextTryAt      time.Time // these are zero when there is none
	SendingSince   time.Time
	ExpiresAt      time.Time
	SentAt         time.Time
	AcceptedAt     time.Time
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// MayBeAtRetool says whether Retool may have an invite that nobody has taken away.
func (i Invitation) MayBeAtRetool() bool {
	return i.State == Sent || i.State == Expired || i.RetoolID != 0 || i.Unsure || i.Resend || !i.SendingSince.IsZero()
}

// WhyRevoked is in words why it was taken back.
func (i Invitation) WhyRevoked() string {
	if i.CorrectedTo != 0 {
		return fmt.Sprintf("the address was corrected: see invitation %d", i.CorrectedTo)
	}
	return "taken back by hand"
}

// LateGroups are the groups wanted by events that came after the invitation was sent. Retool takes groups
// only with the invite, so a person must add them.
func (i Invitation) LateGroups() []int64 {
	if i.SentAt.IsZero() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(i.Groups), func(g int64) bool { return slices.Contains(i.SentGroups, g) })
}

// LateAttributes are the attributes that Retool was not told yet.
func (i Invitation) LateAttributes() map[string]string {
	late := maps.Clone(i.Attributes)
	maps.DeleteFunc(late, func(name, value string) bool { sent, ok := i.SentAttributes[name]; return ok && sent == value })
	return late
}

const invitationColumns = `id, email, state, reason, groups, attributes, sent_groups, sent_attributes, note, source,
	tries, run, unsure, resend, resent, coalesce(retool_id, 0), coalesce(corrected_to, 0), next_try_at, sending_since, expires_at, sent_at, accepted_at, created_at, updated_at`

func scanInvitation(row scanner) (Invitation, error) {
	var i Invitation
	var email, groups, attributes, sentGroups, sentAttributes string
	var next, sending, expires, sent, accepted, created, updated sql.NullInt64
	err := row.Scan(&i.ID, &email, &i.State, &i.Reason, &groups, &attributes, &sentGroups, &sentAttributes, &i.Note, &i.Source,
		&i.Tries, &i.Run, &i.Unsure, &i.Resend, &i.Resent, &i.RetoolID, &i.CorrectedTo, &next, &sending, &expires, &sent, &accepted, &created, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return Invitation{}, fmt.Errorf("invitation: %w", ErrNotFound)
	}
	if err != nil {
		return Invitation{}, fmt.Errorf("read invitation: %w", err)
	}
	if i.Email, err = access.ParseAddress(email); err != nil {
		return Invitation{}, fmt.Errorf("read invitation %d: %w", i.ID, err)
	}
	i.NextTryAt, i.SendingSince, i.ExpiresAt = moment(next), moment(sending), moment(expires)
	i.SentAt, i.AcceptedAt, i.CreatedAt, i.UpdatedAt = moment(sent), moment(accepted), moment(created), moment(updated)
	return i, errors.Join(fromJSON(groups, &i.Groups), fromJSON(attributes, &i.Attributes),
		fromJSON(sentGroups, &i.SentGroups), fromJSON(sentAttributes, &i.SentAttributes))
}

// invitation reads an invitation that the transaction may change.
func (t *tx) invitation(id int64) (Invitation, error) {
	return scanInvitation(t.row(`select `+invitationColumns+` from invitations where id = $1`+t.lockRow, id))
}

// promise makes the invitation of a verdict, or adds the verdict's groups and attributes to the one that
// its address has already.
func (t *tx) promise(v Verdict) (int64, error) {
	one := &statement{verdict: v}
	if err := t.insertInvitations([]*statement{one}); err != nil || one.invitation != 0 {
		return one.invitation, err
	}
	return t.addTo(v)
}

// addTo adds a verdict to the invitation its address has.
func (t *tx) addTo(v Verdict) (int64, error) {
	id, _, err := t.id(`select id from invitations where email = $1`, v.Decision.Address.Full())
	if err != nil {
		return 0, err
	}
	inv, err := t.follow(id, v)
	if err != nil {
		return 0, err
	}
	id = inv.ID
	if v.Decision.Outcome == access.Hold && inv.State != Held && !v.holdsAnew(inv) {
		return id, nil // what nobody approved is not granted; the decision keeps it in sight
	}
	inv.Groups = union(inv.Groups, v.Decision.Groups)
	maps.Copy(inv.Attributes, v.Decision.Attributes)
	if v.Note != "" {
		inv.Note = v.Note
	}
	if _, err := t.exec(`update invitations set groups = $2, attributes = $3, note = $4, updated_at = $5 where id = $1`,
		id, asJSON(inv.Groups), asJSON(inv.Attributes), inv.Note, millis(t.now)); err != nil {
		return 0, err
	}
	if inv.State == Sent && inv.RetoolID != 0 && len(inv.LateAttributes()) > 0 {
		t.enqueue(AttributesJob{Invitation: id})
	}
	switch {
	case v.holdsAnew(inv):
		return id, t.begin(&inv, Held, v.Decision.Sentence, 0)
	case v.Decision.Outcome == access.Invite && requeuedBy(v, inv.State):
		return id, t.queue(&inv, "")
	default:
		return id, nil
	}
}

// holdsAnew says whether a person is given an address whose invitation leads nowhere any more, and a rule has it held:
// then it waits for approval, as a new one would, or the person would be lost.
func (v Verdict) holdsAnew(inv Invitation) bool {
	return v.Decision.Outcome == access.Hold && v.corrects && (inv.State == Failed || inv.State == Expired || inv.State == Revoked)
}

// maxCorrections is how many corrections of one person are followed: a ring of them must end.
const maxCorrections = 10

// follow reads the invitation of an address, or the one that took its place. A person who asks for the old address
// means it.
func (t *tx) follow(id int64, v Verdict) (Invitation, error) {
	inv, err := t.invitation(id)
	for range maxCorrections {
		if err != nil || inv.CorrectedTo == 0 || v.By != "" {
			break
		}
		inv, err = t.invitation(inv.CorrectedTo)
	}
	return inv, err
}

// requeuedBy says whether one more event that means "invite" puts an invitation in this state to work.
func requeuedBy(v Verdict, s State) bool {
	switch s {
	case Failed, Expired:
		return true
	case Held, Revoked: // a person decided, or must
		return v.By != ""
	default:
		return false
	}
}

// queue starts a new run of attempts, at once.
func (t *tx) queue(inv *Invitation, reason string) error {
	err := t.begin(inv, Queued, reason, 0)
	if err == nil {
		t.enqueue(InviteJob{Invitation: inv.ID, Run: inv.Run})
	}
	return err
}

// begin moves an invitation to a state by hand or by an event, in a new run: the jobs of the one before are void. Retool
// takes no second invite beside the first: what it has of the earlier runs is to be taken away before.
func (t *tx) begin(inv *Invitation, state State, reason string, correctedTo int64) error {
	if inv.State == Sent || inv.State == Expired {
		inv.Resend, inv.Unsure = true, true
	}
	inv.State, inv.Reason, inv.Tries, inv.NextTryAt, inv.CorrectedTo = state, reason, 0, time.Time{}, correctedTo
	inv.Run++
	_, err := t.exec(`update invitations set state = $2, reason = $3, tries = 0, run = $4, next_try_at = null, corrected_to = $5, resend = $6, unsure = $7,
		updated_at = $8 where id = $1`,
		inv.ID, string(inv.State), reason, inv.Run, orNoID(correctedTo), flag(inv.Resend), flag(inv.Unsure), millis(t.now))
	return err
}

// cameIn marks the invitation of an address accepted: Retool says that the person is there, however far we
// thought it was. A new run voids the job that may still wait to send it. One that a person took back stays so,
// and an address without an invitation came in by another door.
func (t *tx) cameIn(address access.Address) (int64, error) {
	id, found, err := t.id(`select id from invitations where email = $1`, address.Full())
	if err != nil || !found {
		return 0, err
	}
	_, err = t.exec(`update invitations set state = $2, reason = $3, run = run + 1, next_try_at = null, sending_since = null, unsure = 0, resend = 0,
		accepted_at = $4, updated_at = $4
		where id = $1 and state not in ($2, $5)`, id, string(Accepted), "accepted: Retool says the person came in", millis(t.now), string(Revoked))
	return id, err
}

func union(a, b []int64) []int64 {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return orEmpty(slices.Compact(all))
}

func orEmpty(list []int64) []int64 {
	if list == nil {
		return []int64{}
	}
	return list
}

func orEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
