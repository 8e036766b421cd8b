package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// crashDisk has room for all that a run can accept at full speed.
const crashDisk = 256 << 20

func init() {
	sieges["full disk"] = crashOnFullDisk
	sieges["read-only file"] = crashOnReadOnlyFile
	sieges["bad disk at the start"] = startOnBadDisk
}

// diskTrouble takes the disk away from a loaded Usher with calls to Retool under way, and gives it back: senders are asked
// to come back meanwhile, and afterwards the same process goes on. Nothing is lost or doubled, the invites included
// whose answer could not be written.
func diskTrouble(t *testing.T, folder string, damage, mend func(t *testing.T, folder string)) {
	path := filepath.Join(folder, "usher.db")
	s := newSiege(t, "sqlite://"+path, 1)
	usher, book := s.ushers[0], sqliteFile(t, path)
	s.start(usher)
	s.ready(usher)
	s.load()
	unwritten := 0 // answers of Retool; a full disk still has room in the files that are there, for a moment
	for n := 0; n < min(1+*crashKills/20, 4) || unwritten == 0 && n < 8; n++ {
		time.Sleep(time.Duration(s.chance.Int64N(int64(time.Second))))
		s.retool.Inject(retooltest.Fault{Kind: "timeout-after-work", Delay: 900 * time.Millisecond, Times: -1})
		made := len(s.retool.Invites())
		eventually(t, "calls are under way", func() bool { return len(s.retool.Invites()) > made })
		damage(t, folder)
		s.retool.ClearFaults()
		s.refuses(usher)
		unwritten += len(s.retool.Invites()) - len(book.texts(t, `select email from invitations where state = 'sent'`))
		mend(t, folder)
		s.ready(usher)
	}
	if unwritten == 0 {
		t.Error("no answer of Retool came while the disk was away: this run proves less than it should")
	}
	s.prove(book)
}

func crashOnFullDisk(t *testing.T) { diskTrouble(t, smallDisk(t, crashDisk), fill, empty) }

func crashOnReadOnlyFile(t *testing.T) {
	diskTrouble(t, changeable(t), func(t *testing.T, folder string) { immutable(t, folder, "+i") }, func(t *testing.T, folder string) { immutable(t, folder, "-i") })
}

// startOnBadDisk starts Usher where nothing can be written: it asks senders to come back until it can.
func startOnBadDisk(t *testing.T) {
	folder := smallDisk(t, crashDisk)
	fill(t, folder)
	remount(t, folder, syscall.MS_RDONLY)
	s := newSiege(t, "sqlite://"+filepath.Join(folder, "usher.db"), 1)
	s.start(s.ushers[0])
	s.load()
	s.refuses(s.ushers[0])
	remount(t, folder, 0)
	s.refuses(s.ushers[0])
	empty(t, folder)
	s.ready(s.ushers[0])
	time.Sleep(time.Second)
	s.prove(sqliteFile(t, filepath.Join(folder, "usher.db")))
}

// refuses waits until an Usher has refused events for a while, and checks that it says so and lives. That each refusal
// has a Retry-After, the senders check.
func (s *siege) refuses(v *victim) {
	s.Helper()
	eventually(s.T, "usher says that it is not ready", func() bool { return statusOf(s.T, v.url+"/readyz") == http.StatusServiceUnavailable })
	before := s.senders.refusals()
	eventually(s.T, "events are refused", func() bool { return s.senders.refusals() > before+50 })
	if got := statusOf(s.T, v.url+"/livez"); got != http.StatusOK {
		s.Errorf("livez answered %d, wants 200: the process must stay up", got)
	}
}

// fill leaves not one byte on a small disk.
func fill(t *testing.T, folder string) {
	t.Helper()
	ballast, err := os.OpenFile(filepath.Join(folder, "ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for err == nil {
		_, err = ballast.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func empty(t *testing.T, folder string) {
	t.Helper()
	if err := os.Remove(filepath.Join(folder, "ballast")); err != nil {
		t.Fatal(err)
	}
}

func remount(t *testing.T, folder string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
		t.Fatal(err)
	}
}

// changeable is a folder where a file that is open can be made immutable, which takes root and a file system such as
// ext4. Remounting read-only is refused while a file is open for writing.
func changeable(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	probe, err := os.Create(filepath.Join(folder, "usher.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if out, err := chattr(folder, "+i"); err != nil {
		t.Skipf("a file cannot be made immutable here: %v %s", err, out)
	}
	t.Cleanup(func() { _, _ = chattr(folder, "-i") }) // else it could not be removed
	_, err = probe.WriteString("x")
	immutable(t, folder, "-i")
	if err == nil {
		t.Skip("this file system lets an immutable file be written that is open already")
	}
	return folder
}

// immutable makes the ledger's files so, or undoes it.
func immutable(t *testing.T, folder, flag string) {
	t.Helper()
	if out, err := chattr(folder, flag); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

func chattr(folder, flag string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(folder, "usher.db*"))
	if err != nil {
		return nil, err
	}
	return exec.Command("chattr", append([]string{flag}, files...)...).CombinedOutput()
}
