package main

import (
	"testing"
	"time"

	"github.com/usher-dev/usher/internal/ledger/ledgertest"
)

// crashOnPostgres is crashOnSQLite with three instances on one Postgres, which is stopped and killed as well.
func crashOnPostgres(t *testing.T) {
	server := ledgertest.Own(t)
	s := newSiege(t, server.Address(), 3)
	for _, v := range s.ushers {
		s.start(v)
	}
	s.load()
	restarts := 0
	for range *crashKills {
		v := s.ushers[s.chance.IntN(len(s.ushers))]
		s.letLive(v)
		if s.chance.IntN(3) == 0 || s.kills+1 == *crashKills && restarts == 0 {
			s.restart(server)
			restarts++
			continue
		}
		s.kill(v)
		s.start(v)
	}
	t.Logf("Postgres was stopped or killed %d times", restarts)
	s.prove(openOutside(t, "pgx", server.Address()))
}

// restart takes Postgres away from all instances for a moment: in order, by a crash, or by a crash of one of its parts.
func (s *siege) restart(server *ledgertest.Server) {
	s.Helper()
	switch s.chance.IntN(3) {
	case 0:
		server.KillBackend()
		return
	case 1:
		server.Stop("INT")
	default:
		server.Stop("QUIT")
	}
	time.Sleep(time.Duration(s.chance.Int64N(int64(time.Second))))
	server.Start()
}
