package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"

	modernc "modernc.org/sqlite"
)

// maxPrepared bounds the statements that a connection keeps prepared.
const maxPrepared = 200

// openSQLite opens a database whose connections keep their statements prepared, as pgx's do. Preparing costs several
// times what most statements cost to run, and River prepares for each job anew.
//
// Commits are flushed by fdatasync, where there is one: it leaves out the file's time stamps, which nobody needs after a
// power failure, and keeps all that does. https://www.sqlite.org/compile.html#fdatasync
func openSQLite(dsn string) (*sql.DB, error) {
	if _, err := modernc.Fdatasync(true); err != nil && !errors.Is(err, modernc.ErrFdatasyncUnavailable) {
		return nil, err
	}
	connector, err := modernc.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(preparing{connector}), nil
}

type preparing struct{ driver.Connector }

// Connect implements driver.Connector.
func (p preparing) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &preparedConn{plainConn: conn.(plainConn), statements: map[string]*preparedStatement{}}, nil
}

// A plainConn is what the driver's connection can do, and database/sql asks for.
type plainConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// A preparedConn is a connection that keeps its statements. Like any driver.Conn it serves one goroutine at a time.
type preparedConn struct {
	plainConn
	statements map[string]*preparedStatement
}

type preparedStatement struct {
	plainStatement
	reading bool // its rows are not closed yet
}

type plainStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// ExecContext implements driver.ExecerContext.
func (c *preparedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return c.plainConn.ExecContext(ctx, query, args)
	default:
		return s.ExecContext(ctx, args)
	}
}

// QueryContext implements driver.QueryerContext.
func (c *preparedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return c.plainConn.QueryContext(ctx, query, args)
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.reading = true
	return &preparedRows{rows, s}, nil
}

// statement is the prepared one of a query, or nil where it must be run plainly: because it is another kind of
// statement, or because its rows are still being read.
func (c *preparedConn) statement(ctx context.Context, query string) (*preparedStatement, error) {
	if s := c.statements[query]; s != nil {
		if s.reading {
			return nil, nil
		}
		return s, nil
	}
	if !changesRows(query) {
		return nil, nil
	}
	if len(c.statements) >= maxPrepared {
		c.forget()
	}
	plain, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s := &preparedStatement{plainStatement: plain.(plainStatement)}
	c.statements[query] = s
	return s, nil
}

// changesRows says whether a query reads or changes rows: what changes tables or the connection is not kept.
func changesRows(query string) bool {
	query = strings.TrimSpace(query)
	for strings.HasPrefix(query, "--") { // River's have a name in a comment
		_, query, _ = strings.Cut(query, "\n")
		query = strings.TrimSpace(query)
	}
	switch strings.ToLower(strings.Fields(query + " ;")[0]) {
	case "select", "insert", "update", "delete", "with":
		return true
	default:
		return false
	}
}

// forget closes the statements that are not being read.
func (c *preparedConn) forget() {
	for query, s := range c.statements {
		if !s.reading {
			_ = s.Close()
			delete(c.statements, query)
		}
	}
}

// Close implements driver.Conn.
func (c *preparedConn) Close() error {
	c.forget()
	return c.plainConn.Close()
}

// preparedRows are the rows of a prepared statement, which is free again once they are closed.
type preparedRows struct {
	driver.Rows
	of *preparedStatement
}

// Close implements driver.Rows.
func (r *preparedRows) Close() error {
	r.of.reading = false
	return r.Rows.Close()
}
