package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/usher-dev/usher/internal/access"
)

// The queues of River that the workers in internal/onboarding take from.
const (
	QueueRetool = "retool"  // calls to Retool, all under the shared pace
	QueueLookUp = "look_up" // questions to senders
	QueueUpkeep = "upkeep"  // the ledger's own, one at a time
)

// maxJobTries is how often River hands out a job whose work ended in an error or a panic, which is a fault
// of ours: the schedule of attempts towards Retool is the invitation's own, by snoozing, and a ledger that
// cannot be written is waited for.
const maxJobTries = 10

// An InviteJob sends one invitation. Run must be the invitation's: a job of an older run does nothing.
type InviteJob struct {
	Invitation int64 `json:"invitation"`
	Run        int   `json:"run"`
}

// Kind names the job in River's table.
func (InviteJob) Kind() string { return "invite" }

// InsertOpts sends the job to the paced queue.
func (InviteJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueRetool, MaxAttempts: maxJobTries}
}

// An AttributesJob tells Retool the attributes that later events added to an invitation already sent.
type AttributesJob struct {
	Invitation int64 `json:"invitation"`
}

// Kind names the job in River's table.
func (AttributesJob) Kind() string { return "attributes" }

// InsertOpts sends the job to the paced queue, behind invitations.
func (AttributesJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueRetool, MaxAttempts: maxJobTries, Priority: 2}
}

// A RevokeJob has Retool delete what it has of an invitation that was taken back. Run must be the invitation's: once it
// is queued again, there is nothing to take back.
type RevokeJob struct {
	Invitation int64 `json:"invitation"`
	Run        int   `json:"run"`
}

// Kind names the job in River's table.
func (RevokeJob) Kind() string { return "revoke" }

// InsertOpts sends the job to the paced queue.
func (RevokeJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueRetool, MaxAttempts: maxJobTries}
}

// A Look is a question to Retool about an invitation that was sent: whether the person came in. It is no job of its own.
type Look struct {
	Invitation int64
	Run        int
}

// A Caller is whoever calls Retool for one invitation, while that is in one state and run.
type Caller interface{ calls() call }

type call struct {
	invitation int64
	run        int
	in         State
}

func (j InviteJob) calls() call { return call{j.Invitation, j.Run, Queued} }
func (j RevokeJob) calls() call { return call{j.Invitation, j.Run, Revoked} }
func (l Look) calls() call      { return call{l.Invitation, l.Run, Sent} }

// An ExpireJob asks Retool what became of invitations whose links died. There is never more than one.
type ExpireJob struct{}

// Kind names the job in River's table.
func (ExpireJob) Kind() string { return "expire" }

// InsertOpts sends the job to the paced queue, behind all others, unless one waits or runs there.
func (ExpireJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueRetool, MaxAttempts: maxJobTries, Priority: 4, UniqueOpts: onlyOne}
}

// LookUpBatch is how many events one LookUpJob asks for at most: as many as HubSpot answers in one call.
const LookUpBatch = 100

// A LookUpJob asks a sender for the addresses that its events did not carry.
type LookUpJob struct {
	Source string        `json:"source,omitempty"` // empty in a job of an older Usher: the event knows it
	Events []LookUpEvent `json:"events"`
}

// A LookUpEvent is one event whose address is asked for.
type LookUpEvent struct {
	Event int64 `json:"event"`
	// Decided is how many decisions the event had when the job was enqueued: once there are more, it is done.
	Decided int64 `json:"decided,omitempty"`
	// HoldReason and HoldSentence are of a hold that the sender's own words ask for, whatever address is found.
	HoldReason   access.Reason `json:"hold_reason,omitempty"`
	HoldSentence string        `json:"hold_sentence,omitempty"`
}

// UnmarshalJSON also reads the jobs that an older Usher left in River's table: each was one event, flat.
func (j *LookUpJob) UnmarshalJSON(text []byte) error {
	type plain LookUpJob // without this method
	var job struct {
		plain
		LookUpEvent
	}
	if err := json.Unmarshal(text, &job); err != nil {
		return err
	}
	*j = LookUpJob(job.plain)
	if j.Events == nil && job.Event != 0 {
		j.Events = []LookUpEvent{job.LookUpEvent}
	}
	return nil
}

// Kind names the job in River's table.
func (LookUpJob) Kind() string { return "look_up" }

// InsertOpts sends the job to the queue of look-ups.
func (LookUpJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueLookUp, MaxAttempts: maxJobTries}
}

// An UpkeepJob removes what need not be kept any longer. There is never more than one.
type UpkeepJob struct{}

// Kind names the job in River's table.
func (UpkeepJob) Kind() string { return "upkeep" }

// InsertOpts sends the job to its own queue, unless one waits or runs there.
func (UpkeepJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueUpkeep, MaxAttempts: maxJobTries, UniqueOpts: onlyOne}
}

// onlyOne is for a kind of which there is one job that is not finished, at most.
var onlyOne = river.UniqueOpts{ByState: []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled}}

// TakeOver makes the calling process one that works this ledger's jobs, until release is called. On SQLite it
// is the only one, or ErrInUse says that another process already is; what a dead process left running is handed
// out again at once. On Postgres, where others may be at work, that happens once it has run for too long.
func (l *Ledger) TakeOver(ctx context.Context) (release func() error, err error) {
	release, err = l.dialect.lock()
	if err != nil {
		return nil, err
	}
	err = l.inTx(ctx, func(tx *sql.Tx) error {
		return l.dialect.takeOver(ctx, tx)
	})
	if err != nil {
		_ = release()
		return nil, fmt.Errorf("take over what a dead process left: %w", err)
	}
	return release, nil
}
