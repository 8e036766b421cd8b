package handlers

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/usher-dev/usher/internal/ledger"
)

// metrics are Usher's numbers for Prometheus. Labels are bounded: sources and rules, never an address or an
// event id.
type metrics struct {
	registry   *prometheus.Registry
	deliveries *prometheus.CounterVec
	rejections *prometheus.CounterVec
	duration   prometheus.Histogram

	mu     sync.Mutex
	failed map[string]signatureFailures // by source
}

// signatureFailures are those of one source since this Usher started, for people.
type signatureFailures struct {
	Count int64
	Last  time.Time
	Rule  string // of the last
}

func newMetrics(o Options) *metrics {
	m := &metrics{
		failed:   map[string]signatureFailures{},
		registry: prometheus.NewRegistry(),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "usher_deliveries_total",
			Help: "Webhook requests by source and result: accepted, rejected, refused, not stored."}, []string{"source", "result"}),
		rejections: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "usher_signature_failures_total",
			Help: "Webhook requests whose signature failed, by source and rule."}, []string{"source", "rule"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "usher_accept_duration_seconds",
			Help: "From an accepted request's start to its delivery being on disk.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "usher_build_info", Help: "Always 1; the version is a label.",
		ConstLabels: prometheus.Labels{"version": o.Version}})
	info.Set(1)
	m.registry.MustRegister(m.deliveries, m.rejections, m.duration, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if o.Ledger != nil {
		m.registry.MustRegister(ledgerCollector{o.Ledger, o.Now, o.Panics})
	}
	return m
}

// handler tells what can be told: a ledger that cannot be read must not hide the other numbers, nor show its
// error to whoever asks.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func (m *metrics) received(source, result string) {
	m.deliveries.WithLabelValues(source, result).Inc()
}

func (m *metrics) accepted(source string, took time.Duration) {
	m.received(source, "accepted")
	m.duration.Observe(took.Seconds())
}

func (m *metrics) rejected(source, rule string, at time.Time) {
	m.received(source, "rejected")
	m.rejections.WithLabelValues(source, rule).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed[source] = signatureFailures{Count: m.failed[source].Count + 1, Last: at, Rule: rule}
}

// failures are how often signatures of a source failed since the start.
func (m *metrics) failures(source string) signatureFailures {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed[source]
}

// A ledgerCollector reads the ledger when Prometheus asks.
type ledgerCollector struct {
	ledger *ledger.Ledger
	now    func() time.Time
	panics func() int64 // nil: nobody counts
}

var (
	invitationsDesc = prometheus.NewDesc("usher_invitations", "Invitations by state.", []string{"state"}, nil)
	undecidedDesc   = prometheus.NewDesc("usher_undecided_deliveries", "Accepted deliveries that wait for the decide stage.", nil, nil)
	setAsideDesc    = prometheus.NewDesc("usher_set_aside_deliveries", "Deliveries that could not be decided and wait for a person.", nil, nil)
	oldestDesc      = prometheus.NewDesc("usher_oldest_waiting_seconds", "Age of the oldest delivery undecided or invitation queued.", nil, nil)
	dueDesc         = prometheus.NewDesc("usher_oldest_due_seconds", "For how long the oldest work has been due: a delivery to be decided, a job, an invitation's next try.", []string{"of"}, nil)
	idleDesc        = prometheus.NewDesc("usher_sending_idle_seconds", "For how long the budget has gone unused although an invitation was due.", nil, nil)
	panicsDesc      = prometheus.NewDesc("usher_panics_total", "Panics that the stages behind the door caught.", nil, nil)
	stoppedDesc     = prometheus.NewDesc("usher_sending_stopped", "1 while all sending is stopped.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c ledgerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{invitationsDesc, undecidedDesc, setAsideDesc, oldestDesc, dueDesc, idleDesc, panicsDesc, stoppedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c ledgerCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := c.ledger.Summary(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(invitationsDesc, err)
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for state, n := range s.Invitations {
		gauge(invitationsDesc, float64(n), string(state))
	}
	gauge(undecidedDesc, float64(s.Undecided))
	gauge(setAsideDesc, float64(s.SetAside))
	now := c.now()
	age := func(since time.Time) float64 {
		if since.IsZero() {
			return 0
		}
		return max(0, now.Sub(since).Seconds())
	}
	for of, since := range map[string]time.Time{"delivery": s.Due.Delivery, "job": s.Job, "invitation": s.Invitation} {
		gauge(dueDesc, age(since), of)
	}
	gauge(idleDesc, max(0, s.Idle(now).Seconds()))
	if c.panics != nil {
		ch <- prometheus.MustNewConstMetric(panicsDesc, prometheus.CounterValue, float64(c.panics()))
	}
	var stopped float64
	if s.Pace.StoppedReason != "" {
		stopped = 1
	}
	gauge(oldestDesc, age(s.OldestWaiting))
	gauge(stoppedDesc, stopped)
}
