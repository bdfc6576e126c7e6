package dashboard

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed page.html style.css
var assets embed.FS

// HandlerOptions adjust NewHandler. The zero value is complete.
type HandlerOptions struct {
	Now func() time.Time // stamps snapshots that carry no time; nil means time.Now
}

// NewHandler serves the page under /, and /status.json, /healthz and /metrics. status is called once for
// each request, from any goroutine, and must not block. Only GET and HEAD are allowed; nothing is changed
// by any request.
func NewHandler(status func() Status, options HandlerOptions) http.Handler {
	if options.Now == nil {
		options.Now = time.Now
	}
	snapshot := func() Status {
		s := status()
		s.Format = Format
		if s.Time.IsZero() {
			s.Time = At(options.Now())
		}
		if s.Gaps == nil {
			s.Gaps = []GapRange{}
		}
		return s
	}
	page := template.Must(template.ParseFS(assets, "page.html"))
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(snapshot),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { writePage(w, page, snapshot()) })
	mux.HandleFunc("GET /style.css", writeStyle)
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, snapshot()) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { writeHealth(w, r, snapshot()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return secured(mux)
}

// secured sets the headers that keep a browser from doing anything but showing what it got.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// pageData is what page.html shows.
type pageData struct {
	Status
	Summary  Summary
	Sections []Section
}

func writePage(w http.ResponseWriter, page *template.Template, s Status) {
	var body bytes.Buffer
	data := pageData{Status: s, Summary: Summarize(s), Sections: Details(s)}
	if err := page.Execute(&body, data); err != nil {
		http.Error(w, fmt.Sprintf("render page: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	body.WriteTo(w) //nolint:errcheck // the browser has gone: nobody is left to tell
}

func writeStyle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=300")
	http.ServeFileFS(w, r, assets, "style.css")
}

// statusJSON is a snapshot with the verdict on it.
type statusJSON struct {
	Status
	Healthy bool   `json:"healthy"`
	Problem string `json:"problem"` // why it isn't healthy, "" if it is
}

func writeJSON(w http.ResponseWriter, s Status) {
	problem := s.Health()
	body, err := json.MarshalIndent(statusJSON{Status: s, Healthy: problem == "", Problem: problem}, "", "  ")
	if err != nil {
		http.Error(w, fmt.Sprintf("encode status: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n')) //nolint:errcheck // the client has gone: nobody is left to tell
}

// writeHealth answers 200 "ok" or 503 with the reason. A receiver that waits for the slot is not healthy for
// long, because nothing tells it that the other one archives; "?standbyok=true" accepts it, for a pair of receivers.
func writeHealth(w http.ResponseWriter, r *http.Request, s Status) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.State == Waiting && r.URL.Query().Get("standbyok") == "true" {
		fmt.Fprintln(w, "ok, waiting for the slot")
		return
	}
	if problem := s.Health(); problem != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.ReplaceAll(problem, "\n", " "))
		return
	}
	fmt.Fprintln(w, "ok")
}
