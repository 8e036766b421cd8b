//go:build !unix

package ledgertest

import "errors"

func launch(_, _ string, _ ...string) (*leash, error) {
	return nil, errors.New("these tests start Postgres on Unix only")
}
