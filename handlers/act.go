package handlers

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/usher-dev/usher/internal/access"
	"github.com/usher-dev/usher/internal/ledger"
)

// What a person does, for the API, the pages and the command line alike. Each method takes who did it.

// sourceAPI is the source of the events that people make.
const sourceAPI = "api"

// The types of the events that people make.
const (
	typeRequested = "invitation.requested"
	typeCorrected = "invitation.corrected"
)

// inOneCommit bounds how many invitations are recorded together, so that no commit keeps webhooks waiting.
const inOneCommit = 500

// The effects that inviting an address can have: each has its words in effectWords.
const (
	effectInvites  = "invites"  // a new invitation
	effectHolds    = "holds"    // a new invitation that a person must approve
	effectQueues   = "queues"   // the invitation it has is sent again
	effectReleases = "releases" // the invitation it has is held, and goes out now
	effectNothing  = "nothing"  // the invitation it has stays as it is
	effectRefuses  = "refuses"  // a rule invites nobody
	effectDoubles  = "doubles"  // a row before it has the same address
	effectInvalid  = "invalid"  // there is no such request
)

var effects = []string{effectInvites, effectHolds, effectQueues, effectReleases, effectNothing, effectRefuses, effectDoubles, effectInvalid}

// previewed is what would become of one request, with nothing recorded.
type previewed struct {
	invitationRequest
	errors     []fieldError // what is wrong with it; then nothing else is set but effect and words
	address    access.Address
	decision   access.Decision
	invitation *ledger.Invitation // the one the address has already, nil for none
	doubles    int                // the row before it that has the same address, -1 for none
	effect     string
	words      string // the effect for people, such as "a new invitation"
}

// invited is what became of one request. A row with errors was left out.
type invited struct {
	previewed
	id    int64              // of the invitation, 0 where there is none
	after *ledger.Invitation // the invitation now
}

// preview decides requests as invite would, and records nothing.
func (s *Server) preview(ctx context.Context, requests []invitationRequest) ([]previewed, error) {
	rows := make([]previewed, len(requests))
	var addresses []access.Address
	for i, request := range requests {
		rows[i] = s.decideRequest(request)
		if len(rows[i].errors) == 0 {
			addresses = append(addresses, rows[i].address)
		}
	}
	have, err := s.Ledger.InvitationsOf(ctx, addresses)
	if err != nil {
		return nil, err
	}
	first := map[access.Address]int{}
	for i := range rows {
		row := &rows[i]
		if inv, ok := have[row.address]; ok {
			row.invitation = &inv
		}
		if before, ok := first[row.address]; ok && !row.address.IsZero() {
			row.doubles = before
		} else {
			first[row.address] = i
		}
		row.foresee()
	}
	return rows, nil
}

// decideRequest decides like a webhook would: the domain rule speaks here too.
func (s *Server) decideRequest(r invitationRequest) previewed {
	row := previewed{invitationRequest: r, doubles: -1}
	if row.errors = r.mistakes(); len(row.errors) > 0 {
		return row
	}
	row.decision = s.Policy.Decide(r.event(""))
	row.address = row.decision.Address
	row.decision.Groups = slices.Compact(slices.Sorted(slices.Values(append(row.decision.Groups, r.Groups...))))
	if len(r.Attributes) > 0 {
		wanted := maps.Clone(r.Attributes)
		maps.Copy(wanted, row.decision.Attributes)
		row.decision.Attributes = wanted
	}
	return row
}

func (r invitationRequest) event(id string) access.Event {
	return access.Event{Source: sourceAPI, Type: typeRequested, ID: id, Email: r.Email}
}

// foresee says what inviting would do.
func (p *previewed) foresee() {
	p.effect = p.foreseen()
	p.words = effectWords[p.effect]
	switch {
	case len(p.errors) > 0:
		p.words = p.errors[0].Detail
	case p.effect == effectRefuses:
		p.words = p.decision.Sentence
	case p.effect == effectQueues:
		p.words = fmt.Sprintf("is %s: will be queued again", p.invitation.State)
	case p.effect == effectNothing:
		p.words = fmt.Sprintf("is %s already: nothing happens", p.invitation.State)
		if p.adds() {
			p.words += ", but that groups and attributes are added"
		}
	case p.effect == effectDoubles:
		p.words = fmt.Sprintf("the same address as in row %d", p.doubles+1)
	}
}

// foreseen is the ledger's own logic in words: what happens to an invitation when a person asks for its address.
func (p *previewed) foreseen() string {
	hold := p.decision.Outcome == access.Hold
	switch {
	case len(p.errors) > 0:
		return effectInvalid
	case p.decision.Outcome == access.Skip:
		return effectRefuses
	case p.doubles >= 0:
		return effectDoubles
	case p.invitation == nil && hold:
		return effectHolds
	case p.invitation == nil:
		return effectInvites
	case hold:
		return effectNothing
	}
	switch p.invitation.State {
	case ledger.Failed, ledger.Expired, ledger.Revoked:
		return effectQueues
	case ledger.Held:
		return effectReleases
	default:
		return effectNothing
	}
}

var effectWords = map[string]string{
	effectInvites:  "a new invitation",
	effectHolds:    "a new invitation, held until a person approves it",
	effectReleases: "is held: will be released and queued",
}

// adds reports whether the invitation that the address has gets groups or attributes that it has not.
func (p *previewed) adds() bool {
	switch {
	case p.invitation == nil || len(p.errors) > 0 || p.decision.Outcome == access.Skip:
		return false
	case p.decision.Outcome == access.Hold && p.invitation.State != ledger.Held:
		return false
	}
	for _, group := range p.decision.Groups {
		if !slices.Contains(p.invitation.Groups, group) {
			return true
		}
	}
	for name, value := range p.decision.Attributes {
		if has, ok := p.invitation.Attributes[name]; !ok || has != value {
			return true
		}
	}
	return false
}

// invite records requests, many in one commit. Those with mistakes are left out. With a key, the same call made again
// is the same call, whatever became of the first.
func (s *Server) invite(ctx context.Context, by, key string, requests []invitationRequest) ([]invited, error) {
	rows, err := s.preview(ctx, requests)
	if err != nil {
		return nil, err
	}
	done := make([]invited, len(rows))
	var verdicts []ledger.Verdict
	var of []*invited // whose each verdict is
	for i, row := range rows {
		done[i] = invited{previewed: row}
		if len(row.errors) > 0 {
			continue
		}
		event := row.event(requestID(by, key, i, row.invitationRequest))
		verdicts = append(verdicts, ledger.Verdict{Event: event, OccurredAt: s.Now(), Decision: row.decision, By: by, Note: row.Note})
		of = append(of, &done[i])
	}
	for some := range slices.Chunk(verdicts, inOneCommit) {
		ids, err := s.Ledger.RecordMany(ctx, some)
		if err != nil {
			return nil, err
		}
		for i, id := range ids {
			of[i].id = id
		}
		of = of[len(ids):]
	}
	return done, s.lookAfter(ctx, done)
}

// lookAfter reads what the invitations are now.
func (s *Server) lookAfter(ctx context.Context, done []invited) error {
	var addresses []access.Address
	for _, row := range done {
		if row.id != 0 {
			addresses = append(addresses, row.address)
		}
	}
	now, err := s.Ledger.InvitationsOf(ctx, addresses)
	for i := range done {
		if inv, ok := now[done[i].address]; ok && done[i].id != 0 {
			done[i].after = &inv
		}
	}
	return err
}

// requestID is the identity of the event that a request makes: the same for the same row of the same call.
func requestID(by, key string, row int, r invitationRequest) string {
	if key == "" {
		return rand.Text()
	}
	contents := sha256.Sum256(fmt.Appendf(nil, "%q %v %q %q", r.Email, r.Groups, r.Attributes, r.Note)) // a key may come back another day
	return fmt.Sprintf("%s-%d-%x", hashKey(by, key)[:32], row, contents[:4])
}

func (s *Server) retry(ctx context.Context, by string, id int64) (ledger.Invitation, error) {
	return s.Ledger.Retry(ctx, by, id)
}

func (s *Server) approve(ctx context.Context, by string, id int64) (ledger.Invitation, error) {
	return s.Ledger.Approve(ctx, by, id)
}

func (s *Server) revoke(ctx context.Context, by string, id int64) (ledger.Invitation, error) {
	return s.Ledger.Revoke(ctx, by, id)
}

func (s *Server) retryAll(ctx context.Context, by string, state ledger.State) (int, error) {
	return s.Ledger.RetryAll(ctx, by, state)
}

func (s *Server) approveAll(ctx context.Context, by string) (int, error) {
	return s.Ledger.ApproveAll(ctx, by)
}

// correct gives the person behind an invitation another address, and decides anew whether that may come in.
func (s *Server) correct(ctx context.Context, by string, id int64, email string) (old, corrected ledger.Invitation, err error) {
	_, event, decision, err := s.correction(ctx, id, email)
	if err != nil {
		return old, corrected, err
	}
	if decision.Outcome == access.Skip {
		return old, corrected, refused(decision)
	}
	event.ID = "corrected-" + rand.Text()
	return s.Ledger.Correct(ctx, by, id, ledger.Verdict{Event: event, OccurredAt: s.Now(), Decision: decision})
}

// foreseeCorrection says what correct would do, and records nothing.
func (s *Server) foreseeCorrection(ctx context.Context, id int64, email string) (previewed, error) {
	old, event, decision, err := s.correction(ctx, id, email)
	if err != nil {
		return previewed{}, err
	}
	row := previewed{invitationRequest: invitationRequest{Email: event.Email}, address: decision.Address, decision: decision, doubles: -1}
	if err := s.Ledger.Correctable(old, decision.Address); err != nil && decision.Outcome != access.Skip {
		return row, err
	}
	if decision.Outcome == access.Hold && old.State != ledger.Held {
		row.decision.Outcome = access.Invite // a person let them in already
	}
	have, err := s.Ledger.InvitationsOf(ctx, []access.Address{decision.Address})
	if err != nil {
		return row, err
	}
	if inv, ok := have[decision.Address]; ok {
		row.invitation = &inv
	}
	row.foresee()
	if row.invitation != nil && row.decision.Outcome == access.Hold && slices.Contains([]ledger.State{ledger.Failed, ledger.Expired, ledger.Revoked}, row.invitation.State) {
		row.effect, row.words = effectHolds, fmt.Sprintf("is %s: will be held until a person approves it", row.invitation.State)
	}
	return row, nil
}

// correction decides about another address of the person behind an invitation.
func (s *Server) correction(ctx context.Context, id int64, email string) (old ledger.Invitation, event access.Event, decision access.Decision, err error) {
	if mistakes := (invitationRequest{Email: email}).mistakes(); len(mistakes) > 0 {
		return old, event, decision, invalid(mistakes...)
	}
	if old, err = s.Ledger.Invitation(ctx, id); err != nil {
		return old, event, decision, err
	}
	if event, err = s.eventBehind(ctx, id); err != nil {
		return old, event, decision, err
	}
	event.Email = email
	return old, event, s.Policy.Decide(event), nil
}

// eventBehind is what a sender told us of the person, so that the rules say of another address what they said of the
// first: the newest event that let them in. Where retention has removed it, only the address is known.
func (s *Server) eventBehind(ctx context.Context, invitation int64) (access.Event, error) {
	events, err := s.Ledger.InvitationEvents(ctx, invitation)
	if err != nil {
		return access.Event{}, err
	}
	var byHand access.Event
	for _, e := range slices.Backward(events) {
		switch {
		case e.Decisions[0].Outcome == access.Skip: // such as that the person came in
		case e.Details.Source != sourceAPI:
			return e.Details, nil
		case byHand.Source == "":
			byHand = e.Details
		}
	}
	if byHand.Source == "" {
		byHand = access.Event{Source: sourceAPI, Type: typeCorrected}
	}
	return byHand, nil
}

// refused is the problem of an address that a rule does not let in.
func refused(d access.Decision) *problem {
	return &problem{Title: "This address is not invited", Status: http.StatusUnprocessableEntity, Detail: d.Sentence,
		Reason: string(d.Reason), Errors: []fieldError{{Field: "email", Detail: d.Sentence}}}
}
