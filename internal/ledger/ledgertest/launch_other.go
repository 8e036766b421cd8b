//go:build !unix

package ledgertest

import "errors"

func launch(string, string) error { return errors.New("these tests start Postgres on Unix only") }
