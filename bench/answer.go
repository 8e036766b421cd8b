package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

const http200 = "200"

func (c *client) exchange(request []byte) (status string, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return "", err
	}
	return readAnswer(c.answers)
}

// readAnswer reads one answer with a Content-Length and returns its status.
func readAnswer(r *bufio.Reader) (status string, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 12 {
		return "", fmt.Errorf("%w: the answer is no HTTP", io.ErrUnexpectedEOF)
	}
	status = http200
	if string(line[9:12]) != http200 {
		status = string(line[9:12])
	}
	length := 0
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return "", err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return "", err
			}
		}
	}
	_, err = r.Discard(length)
	return status, err
}

func sum(clients []*client, phase int, took time.Duration) (r result) {
	var all, late []time.Duration
	for _, c := range clients {
		all, late = append(all, c.seen[phase].took...), append(late, c.seen[phase].late...)
		r.Failed += c.seen[phase].failed
	}
	slices.Sort(all)
	slices.Sort(late)
	r.Requests, r.PerSecond = len(all), float64(len(all))/took.Seconds()
	r.P50, r.P99, r.P999, r.Max, r.Late = at(all, .5), at(all, .99), at(all, .999), at(all, 1), at(late, .99)
	return r
}

// at is a quantile of sorted times, in milliseconds.
func at(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Seconds() * 1000
}
