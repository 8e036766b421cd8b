// Package ledgertest gives tests a real Postgres: one server for a test binary, which it starts itself, and a
// database of its own for each test.
package ledgertest

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the "pgx" driver
)

// Postgres makes an empty database, which the test's end drops, and returns its address. Without a Postgres on
// this machine the test is skipped, or fails where CI is true.
func Postgres(t testing.TB) (address string) {
	t.Helper()
	return database(t, "template1")
}

// Migrated is Postgres with what migrate brings into a database: it is called once, all others are copies.
func Migrated(t testing.TB, migrate func(address string) error) (address string) {
	t.Helper()
	s := running(t)
	s.migrated.Do(func() {
		if s.failed = s.create("migrated", "template1"); s.failed == nil {
			s.failed = migrate(s.address("migrated"))
		}
	})
	if s.failed != nil {
		t.Fatalf("make the database that the others are copies of: %v", s.failed)
	}
	return database(t, "migrated")
}

// Available says why there is no Postgres here, or nothing.
func Available() error {
	_, err := start()
	return err
}

// Address makes an empty database that stays, and returns its address: for what has no testing.TB.
func Address() (string, error) {
	s, err := start()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("test%d", s.made.Add(1))
	return s.address(name), s.create(name, "template1")
}

func running(t testing.TB) *server {
	t.Helper()
	s, err := start()
	must(t, err)
	return s
}

// must skips a test that has no Postgres, or fails it where CI is true.
func must(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("CI must run every test: %v", err)
	default:
		t.Skipf("skipped: %v; scripts/need.sh postgres installs it", err)
	}
}

func database(t testing.TB, template string) string {
	t.Helper()
	s := running(t)
	name := fmt.Sprintf("test%d", s.made.Add(1))
	if err := s.create(name, template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := s.admin.ExecContext(context.Background(), `drop database `+name+` with (force)`); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	return s.address(name)
}

// A server is one running Postgres. It ends with this process, in whatever way that ends.
type server struct {
	port     string
	leash    *leash
	admin    *sql.DB
	copying  sync.Mutex // Postgres copies a template for one at a time
	made     atomic.Int64
	migrated sync.Once
	failed   error
}

func (s *server) address(database string) string {
	return "postgres://postgres@127.0.0.1:" + s.port + "/" + database + "?sslmode=disable"
}

func (s *server) create(name, template string) error {
	s.copying.Lock()
	defer s.copying.Unlock()
	_, err := s.admin.ExecContext(context.Background(), `create database `+name+` template `+template)
	return err
}

// start starts the one server of a test binary. Without fsync: nothing here must survive.
var start = sync.OnceValues(func() (*server, error) {
	return startWith("fsync=off", "full_page_writes=off", "autovacuum=off")
})

func startWith(settings ...string) (*server, error) {
	programs, err := find()
	if err != nil {
		return nil, err
	}
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address) // it is one
	leash, err := launch(programs, port, settings...)
	if err != nil {
		return nil, err
	}
	s := &server{port: port, leash: leash}
	if s.admin, err = sql.Open("pgx", s.address("postgres")); err != nil {
		return nil, err
	}
	return s, s.answers()
}

// answers waits until the server does.
func (s *server) answers() (err error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = s.admin.PingContext(context.Background()); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the Postgres of the tests does not answer: %w", err)
		}
	}
}

// find returns the folder of Postgres's programs: POSTGRES_BIN, else the path's, else Debian's newest.
func find() (folder string, err error) {
	folders := []string{os.Getenv("POSTGRES_BIN")}
	if program, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(program))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Sort(debian)
	slices.Reverse(debian)
	for _, folder := range append(folders, debian...) {
		if folder != "" && isProgram(folder, "initdb") && isProgram(folder, "postgres") {
			return folder, nil
		}
	}
	return "", fmt.Errorf("there is no Postgres on this machine (initdb and postgres in $POSTGRES_BIN, the path or /usr/lib/postgresql)")
}

func isProgram(folder, name string) bool {
	info, err := os.Stat(filepath.Join(folder, name)) //nolint:gosec // whoever runs the tests names the folder
	return err == nil && !info.IsDir()
}

// script makes a cluster in $1 with the programs in $2 and serves it at port $3, with the settings that follow, until
// its standard input ends, which it does with the test process, even with one that is killed. Meanwhile it does what a
// leash asks for.
const script = `cd "$1" || exit 1
folder=$1 programs=$2 port=$3
shift 3
settings=
for setting; do settings="$settings -c $setting"; done
"$programs/initdb" -D data -U postgres -A trust -E UTF8 --locale=C --no-sync >initdb.log 2>&1 || { cat initdb.log; exit 1; }
printf "host all locked 127.0.0.1/32 scram-sha-256\\nhost all all 127.0.0.1/32 trust\\nlocal all all trust\\n" >data/pg_hba.conf
serve() {
	"$programs/postgres" -D data -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 -c max_connections=300 \
		-c shared_buffers=32MB -c deadlock_timeout=100ms $settings >>postgres.log 2>&1 </dev/null &
	server=$!
}
serve
echo started
while read -r word what; do
	case $word in
	start) serve ;;
	stop) kill "-$what" $server; wait $server ;;
	kill) kill -KILL "$what" 2>/dev/null ;; # it may be gone
	esac
	echo done
done
kill -INT $server
wait $server
cd / && rm -rf "$folder"`

// FreeAddress is an address of this machine where nothing listens.
func FreeAddress() (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func started(answer string) error {
	if strings.TrimSpace(answer) == "started" {
		return nil
	}
	return fmt.Errorf("start the Postgres of the tests: %s", answer)
}
