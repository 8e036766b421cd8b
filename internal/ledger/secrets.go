package ledger

import (
	"context"
	"database/sql"
	"time"
)

// A KnownSecret is since when the secrets of a source are as they are. The ledger does not have them.
type KnownSecret struct {
	Since     time.Time // when they were first seen
	ChangedAt time.Time // zero: not since then
}

// NoteSecrets compares the fingerprints of all sources' secrets with those of the last time.
func (l *Ledger) NoteSecrets(ctx context.Context, fingerprints map[string]string) error {
	return l.change(ctx, func(t *tx) error {
		for source, fingerprint := range fingerprints {
			_, err := t.exec(`insert into source_secrets (source, fingerprint, since) values ($1, $2, $3)
				on conflict (source) do update set fingerprint = excluded.fingerprint, changed_at = excluded.since
				where source_secrets.fingerprint <> excluded.fingerprint`, source, fingerprint, millis(t.now))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// KnownSecrets are those that NoteSecrets was told of, by source.
func (l *Ledger) KnownSecrets(ctx context.Context) (map[string]KnownSecret, error) {
	type known struct {
		source string
		KnownSecret
	}
	all, err := collect(ctx, l.read, func(row scanner) (k known, err error) {
		var since, changed sql.NullInt64
		err = row.Scan(&k.source, &since, &changed)
		k.Since, k.ChangedAt = moment(since), moment(changed)
		return k, err
	}, `select source, since, changed_at from source_secrets`)
	found := map[string]KnownSecret{}
	for _, k := range all {
		found[k.source] = k.KnownSecret
	}
	return found, err
}
