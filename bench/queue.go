package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// longest is how long the work on a full ledger may last.
const longest = 30 * time.Minute

// backlog times "usher serve" from its start until it has decided what others accepted.
func backlog(ctx context.Context, l *lab, t *table) error {
	t.Columns = []string{"decided/s", "s", "resident MB, peak"}
	t.Settings = fmt.Sprintf("%d deliveries, from the start of the process until none is undecided; Retool out of reach; rounds in turn: %d", l.Backlog, l.Rounds)
	return l.onBoth(t, func(kind string, wants map[string]float64) error {
		st, err := l.filled(ctx, kind, l.Backlog, false)
		if err != nil {
			return err
		}
		p, err := l.serve(ctx, st)
		if err != nil {
			st.drop()
			return err
		}
		defer p.stop()
		if err := st.until(ctx, "everything is decided", anyUndecided, longest); err != nil {
			return err
		}
		took := time.Since(p.started).Seconds()
		t.add("usher serve, "+kind, float64(l.Backlog)/took, took, p.memory("VmHWM"))
		t.see("decided/s, "+kind, "≥", wants[kind], float64(l.Backlog)/took)
		return nil
	}, map[string]float64{"sqlite": 3000, "postgres": 4000})
}

// onBoth runs one round after the other, on each store.
func (l *lab) onBoth(t *table, round func(kind string, wants map[string]float64) error, wants map[string]float64) error {
	for i := range l.Rounds {
		for _, kind := range []string{"sqlite", "postgres"} {
			say("%s: round %d of %d, %s", t.Scenario, i+1, l.Rounds, kind)
			if err := round(kind, wants); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
	}
	return nil
}

// filled is a store with n deliveries, or with as many queued invitations.
func (l *lab) filled(ctx context.Context, kind string, n int, decided bool) (*store, error) {
	st, err := l.newStore(ctx, kind)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, st.address, n, decided); err != nil {
		st.drop()
		return nil, fmt.Errorf("fill the ledger: %w", err)
	}
	return st, nil
}

// drain times "usher serve" from its start until every queued invitation is sent and settled. Retool is a fake in a process
// of its own, which answers at once and remembers.
func drain(ctx context.Context, l *lab, t *table) error {
	t.Columns = []string{"invitations/s", "s", "resident MB, peak"}
	t.Settings = fmt.Sprintf("%d queued invitations, no pace, from the start of the process until none is queued; rounds in turn: %d", l.Backlog, l.Rounds)
	t.note("At the end of each round the fake Retool's memory held every address exactly once.")
	return l.onBoth(t, func(kind string, wants map[string]float64) error {
		st, err := l.filled(ctx, kind, l.Backlog, true)
		if err != nil {
			return err
		}
		retool, err := l.role(ctx, "retool", "")
		if err != nil {
			st.drop()
			return err
		}
		defer retool.stop()
		p, err := l.serve(ctx, st, "RETOOL_URL=http://"+retool.address, "USHER_RETOOL_REQUESTS_PER_MINUTE=0")
		if err != nil {
			st.drop()
			return err
		}
		defer p.stop()
		if err := st.until(ctx, "every invitation is sent", anyQueued, longest); err != nil {
			return err
		}
		took := time.Since(p.started).Seconds()
		t.add("usher serve, "+kind, float64(l.Backlog)/took, took, p.memory("VmHWM"))
		t.see("invitations/s, "+kind, "≥", wants[kind], float64(l.Backlog)/took)
		return l.eachOnce(ctx, retool, st)
	}, map[string]float64{"sqlite": 1500, "postgres": 2500})
}

// remembered is what the fake Retool tells at the end.
type remembered struct{ Addresses, Invites int }

// eachOnce compares the fake's memory with the ledger.
func (l *lab) eachOnce(ctx context.Context, retool *process, st *store) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+retool.address+"/remembered", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var memory remembered
	if err := json.NewDecoder(response.Body).Decode(&memory); err != nil {
		return err
	}
	sent, err := st.count(ctx, `select count(*) from invitations where state = 'sent'`)
	if err != nil {
		return err
	}
	if memory.Addresses != l.Backlog || memory.Invites != l.Backlog || sent != int64(l.Backlog) {
		return fmt.Errorf("of %d invitations %d are sent by the ledger, and Retool remembers %d for %d addresses", l.Backlog, sent, memory.Invites, memory.Addresses)
	}
	return nil
}

// serveRetool is a Retool that answers at once.
func serveRetool(ctx context.Context, address string) error {
	retool := retooltest.New(retooltest.Options{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /remembered", func(w http.ResponseWriter, _ *http.Request) {
		state := retool.State()
		_ = json.NewEncoder(w).Encode(remembered{Addresses: len(state.Created), Invites: len(state.Invites)}) // the asker sees that it is cut
	})
	mux.Handle("/", retool)
	return serve(ctx, address, mux)
}

// memory measures usher with many invitations queued, at the usual pace, quiet and under load.
func memory(ctx context.Context, l *lab, t *table) error {
	t.Columns = []string{"resident MB after 10 s", "peak", "requests/s under load", "resident MB after the load", "peak"}
	t.Settings = fmt.Sprintf("%d invitations queued, a pace of 45 a minute against a fake Retool, then a load of 64 connections for %s", l.Queued, l.Duration)
	for _, kind := range []string{"sqlite", "postgres"} {
		say("memory: %s", kind)
		if err := l.memoryOf(ctx, t, kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func (l *lab) memoryOf(ctx context.Context, t *table, kind string) error {
	st, err := l.filled(ctx, kind, l.Queued, true)
	if err != nil {
		return err
	}
	retool, err := l.role(ctx, "retool", "")
	if err != nil {
		st.drop()
		return err
	}
	defer retool.stop()
	p, err := l.serve(ctx, st, "RETOOL_URL=http://"+retool.address, "USHER_RETOOL_REQUESTS_PER_MINUTE=45")
	if err != nil {
		st.drop()
		return err
	}
	defer p.stop()
	time.Sleep(10 * time.Second)
	quiet, quietPeak := p.memory("VmRSS"), p.memory("VmHWM")
	r, err := l.busy(ctx, p, 64, l.Duration)
	if err != nil {
		return err
	}
	t.add("usher serve, "+kind, quiet, quietPeak, r.PerSecond, p.memory("VmRSS"), p.memory("VmHWM"))
	t.see("peak with the queue full, MB, "+kind, "<", 160, quietPeak)
	t.see("peak under load too, MB, "+kind, "<", 160, p.memory("VmHWM"))
	return nil
}
