package onboarding

import (
	"cmp"
	"slices"
	"strings"

	"github.com/usher-dev/usher/internal/ledger"
)

// Which event of a delivery each of its verdicts speaks of.

// pairs are which verdict of a delivery speaks of which of its events.
type pairs struct {
	of    []*ledger.Verdict // by the place of the event; nil: none does
	fresh []*ledger.Verdict // of no event that the ledger knows
}

// pairUp finds the event of each verdict as the ledger would: what says the same first, then what has the same
// identity. Where an identity is read in another way now, what is left goes in turn.
func pairUp(p ledger.Past, verdicts []ledger.Verdict) pairs {
	known := newKnown(p)
	left := once(verdicts)
	for _, find := range []func(*ledger.Verdict) (place int, found bool){known.bySaying.free, known.byID.free} {
		var open []*ledger.Verdict
		for _, v := range left {
			if place, found := find(v); found {
				known.of[place] = v
			} else {
				open = append(open, v)
			}
		}
		left = open
	}
	var open []int
	for place, v := range known.of {
		if v == nil {
			open = append(open, place)
		}
	}
	if len(open) == len(left) {
		for i, place := range open {
			known.of[place] = left[i]
		}
		left = nil
	}
	return pairs{of: known.of[:len(p.Events)], fresh: left}
}

// once leaves out what a delivery says twice: that is one event.
func once(verdicts []ledger.Verdict) (all []*ledger.Verdict) {
	type saying struct{ bodyKey, id, fingerprint string }
	said := map[saying]bool{}
	for i := range verdicts {
		v := &verdicts[i]
		key := saying{bodyKey: v.BodyKey}
		if v.BodyKey == "" {
			key = saying{id: v.Event.ID, fingerprint: v.Fingerprint}
		}
		if !said[key] {
			said[key] = true
			all = append(all, v)
		}
	}
	return all
}

// known are the events of a delivery by their places, its own and then those it brought again, and how they are found.
type known struct {
	of             []*ledger.Verdict // what speaks of each
	bySaying, byID *places
}

func newKnown(p ledger.Past) *known {
	all := slices.Concat(p.Events, p.Resent)
	k := &known{of: make([]*ledger.Verdict, len(all))}
	k.bySaying = &places{of: k.of, keys: func(v *ledger.Verdict) []string { return []string{"key " + v.BodyKey, "says " + v.Fingerprint} }, at: map[string][]int{}}
	k.byID = &places{of: k.of, keys: func(v *ledger.Verdict) []string { return []string{cmp.Or(v.Event.ID, v.BodyKey)} }, at: map[string][]int{}}
	for i, e := range all {
		if e.BodyKey != "" {
			k.bySaying.add("key "+e.BodyKey, i)
		}
		if e.Fingerprint != "" {
			k.bySaying.add("says "+e.Fingerprint, i)
		}
		k.byID.add(e.SenderID, i)
		if at := strings.LastIndexByte(e.SenderID, '#'); at > 0 { // the sender had used its identity before
			k.byID.add(e.SenderID[:at], i)
		}
	}
	return k
}

// places finds events by something that a verdict has in common with them.
type places struct {
	of   []*ledger.Verdict
	keys func(*ledger.Verdict) []string
	at   map[string][]int
}

func (p *places) add(key string, place int) { p.at[key] = append(p.at[key], place) }

// free is the first event that a verdict may speak of and none does yet.
func (p *places) free(v *ledger.Verdict) (place int, found bool) {
	for _, key := range p.keys(v) {
		for len(p.at[key]) > 0 {
			place := p.at[key][0]
			if p.of[place] == nil {
				return place, true
			}
			p.at[key] = p.at[key][1:]
		}
	}
	return 0, false
}

// saysTheSame says whether another delivery's verdict speaks of an event too.
func saysTheSame(e *ledger.PastEvent, own, other *ledger.Verdict) bool {
	switch {
	case other.BodyKey != "" && (other.BodyKey == e.BodyKey || other.BodyKey == own.BodyKey):
		return true
	case other.Fingerprint != "" && (other.Fingerprint == e.Fingerprint || other.Fingerprint == own.Fingerprint):
		return true
	default:
		return other.Event.ID != "" && other.Event.ID == own.Event.ID
	}
}
