package ledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/usher-dev/usher/internal/access"
)

// The queues of River that the workers in internal/onboarding take from.
const (
	QueueRetool = "retool"  // calls to Retool, all under the shared pace
	QueueLookUp = "look_up" // questions to senders
)

// maxJobTries is how often River hands out a job whose work ended in an error or a panic, which is a fault
// of ours or of the ledger: the schedule of attempts towards Retool is the invitation's own, by snoozing.
const maxJobTries = 50

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

// A LookUpJob asks a sender for the address that its event did not carry.
type LookUpJob struct {
	Event int64 `json:"event"`
	// Decided is how many decisions the event had when the job was enqueued: once there are more, the job is done.
	Decided int64 `json:"decided,omitempty"`
	// HoldReason and HoldSentence are of a hold that the sender's own words ask for, whatever address is found.
	HoldReason   access.Reason `json:"hold_reason,omitempty"`
	HoldSentence string        `json:"hold_sentence,omitempty"`
}

// Kind names the job in River's table.
func (LookUpJob) Kind() string { return "look_up" }

// InsertOpts sends the job to the queue of look-ups.
func (LookUpJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueLookUp, MaxAttempts: maxJobTries}
}

// TakeOver makes the calling process the one that works this ledger's jobs, until release is called. Jobs
// that a dead process left running are handed out again. On SQLite ErrInUse says that another process
// already does.
func (l *Ledger) TakeOver(ctx context.Context) (release func() error, err error) {
	release, err = l.dialect.lock()
	if err != nil {
		return nil, err
	}
	err = l.inTx(ctx, func(tx *sql.Tx) error {
		if err := l.dialect.takeOver(ctx, tx); err != nil {
			return fmt.Errorf("take over running jobs: %w", err)
		}
		// A call that a dead process had under way may have been carried out.
		_, err := tx.ExecContext(ctx, `update invitations set unsure = 1, sending_since = null where sending_since is not null`)
		return err
	})
	if err != nil {
		_ = release()
		return nil, err
	}
	return release, nil
}
