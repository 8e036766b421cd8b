package main

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"

	"github.com/usher-dev/usher/internal/ledger"
)

// A journal is one file that is only appended to: the practical limit of a store that keeps its word. One goroutine
// takes every acceptance that waits, writes them by one write, flushes them by one fdatasync and answers them all.
// Nothing in it can be found again but by reading it from the start; no space is reserved ahead, nothing is compressed.
type journal struct {
	file    *os.File
	waiting chan *entry
	n       int64
}

// An entry is one acceptance that waits.
type entry struct {
	delivery ledger.Delivery
	id       int64
	err      error
	written  chan struct{}
}

func serveJournal(ctx context.Context, address, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	j := &journal{file: file, waiting: make(chan *entry, 1024)}
	go j.run(ctx)
	return serveHandler(ctx, address, j)
}

// Accept returns once the delivery is on disk.
func (j *journal) Accept(ctx context.Context, d ledger.Delivery) (int64, error) {
	e := &entry{delivery: d, written: make(chan struct{})}
	select {
	case j.waiting <- e:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case <-e.written:
		return e.id, e.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (j *journal) run(ctx context.Context) {
	var buffer []byte
	for {
		var batch []*entry
		select {
		case first := <-j.waiting:
			batch = append(batch, first)
		case <-ctx.Done():
			return
		}
		runtime.Gosched() // requests that are about to ask join
		for len(j.waiting) > 0 {
			batch = append(batch, <-j.waiting)
		}
		buffer = buffer[:0]
		for _, e := range batch {
			j.n++
			e.id = j.n
			buffer = appendEntry(buffer, e)
		}
		_, err := j.file.Write(buffer)
		if err == nil {
			err = dataSync(j.file)
		}
		for _, e := range batch {
			e.err = err
			close(e.written)
		}
	}
}

// appendEntry writes an entry as its number, its time and four texts, each behind its length.
func appendEntry(b []byte, e *entry) []byte {
	d := &e.delivery
	b = binary.BigEndian.AppendUint64(b, uint64(e.id))
	b = binary.BigEndian.AppendUint64(b, uint64(d.ReceivedAt.UnixMilli()))
	for _, text := range []string{d.Source, d.VerifiedBy, d.Request} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(d.Body)))
	return append(b, d.Body...)
}
