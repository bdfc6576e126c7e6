package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"walkeep/dashboard"
)

const (
	statusTimeout = 5 * time.Second
	watchInterval = time.Second
	maxStatus     = 16 << 20 // bytes of a status.json: thousands of gaps
)

// newStatusCommand builds "walkeep status".
func newStatusCommand(env *environment) *cobra.Command {
	var address string
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running receiver does and how much is protected",
		Long: `status asks a running "walkeep receive" and shows what would be lost if the primary
were lost now. The exit code is 0 if all is well and 1 if not, or if nobody answers.`,
		Example: `  walkeep status
  walkeep status --watch
  walkeep status --json | jq .lag_seconds`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := statusURL(address)
			if err != nil {
				return usageErrorf(cmd, "--url (or %s): %s", variable("url"), err)
			}
			v := statusView{env: env, target: target, asJSON: asJSON}
			if watch {
				return v.watch(cmd.Context())
			}
			return v.once(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&address, "url", "http://127.0.0.1:9187", "`URL` of the receiver: its --listen")
	cmd.Flags().BoolVar(&watch, "watch", false, "look again each second, until interrupted")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// statusURL turns what --url takes, a URL or host:port, into the URL of status.json.
func statusURL(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%q is not like http://127.0.0.1:9187", address)
	}
	return u.JoinPath("status.json").String(), nil
}

// An answer is what a receiver said.
type answer struct {
	raw    []byte
	status dashboard.Status
	// The receiver's own verdict counts: it may be newer than we are.
	Healthy *bool  `json:"healthy"`
	Problem string `json:"problem"`
}

// fetchStatus asks the receiver at target.
func fetchStatus(ctx context.Context, target string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return answer{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, withHint(fmt.Errorf("no receiver answers: %w", err),
			"start walkeep receive, or give the address of its --listen as --url")
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxStatus))
	if err != nil {
		return answer{}, fmt.Errorf("read %s: %w", target, err)
	}
	a := answer{raw: body}
	if response.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &a.status)
		if err == nil {
			err = json.Unmarshal(body, &a)
		}
	}
	switch {
	case response.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s answers %s", target, response.Status)
	case err != nil:
		err = fmt.Errorf("%s: %w", target, err)
	case a.status.Format == 0 || a.Healthy == nil:
		err = fmt.Errorf("%s holds no receiver's status", target)
	case a.status.Format > dashboard.Format:
		return answer{}, withHint(fmt.Errorf("%s: the receiver is of a newer walkeep", target), "use its version of walkeep")
	default:
		return a, nil
	}
	return answer{}, withHint(err, "give the address of a receiver's --listen as --url")
}

// A statusView shows answers in the form that was asked for.
type statusView struct {
	env    *environment
	target string
	asJSON bool
}

// once shows one answer, and returns errReported if it isn't healthy.
func (v statusView) once(ctx context.Context) error {
	a, err := fetchStatus(ctx, v.target)
	if err != nil {
		return err
	}
	if v.asJSON {
		_, err = v.env.stdout.Write(a.raw)
	} else {
		_, err = io.WriteString(v.env.stdout, v.screen(allSections).render(a))
	}
	return a.verdict(err)
}

func (a answer) verdict(err error) error {
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	if !*a.Healthy {
		return errReported
	}
	return nil
}

// watch shows an answer each second until ctx is done: redrawn on a terminal, else a line each. A receiver
// that doesn't answer is shown as such and asked again. The last look counts for the result.
func (v statusView) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var last error
	for {
		a, err := fetchStatus(ctx, v.target)
		if ctx.Err() != nil {
			return last
		}
		last = err
		if err == nil {
			last = a.verdict(nil)
		}
		if _, err := io.WriteString(v.env.stdout, v.frame(a, err)); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}

// frame is what one look adds to the output.
func (v statusView) frame(a answer, err error) string {
	terminal := v.env.isTerminal(v.env.stdout)
	switch {
	case v.asJSON && err == nil:
		var line bytes.Buffer
		if json.Compact(&line, a.raw) != nil {
			return ""
		}
		return line.String() + "\n"
	case v.asJSON:
		line, _ := json.Marshal(map[string]string{"error": err.Error()}) // strings always encode
		return string(line) + "\n"
	case err != nil && terminal:
		return redraw(plain(err.Error())+"\n", terminalRows(v.env.stdout))
	case err != nil:
		return time.Now().UTC().Format(time.RFC3339) + "  " + plain(err.Error()) + "\n"
	case terminal:
		return redraw(v.screen(withoutCounters).render(a), terminalRows(v.env.stdout))
	default:
		return a.line()
	}
}

// redraw writes text over what a terminal of that many rows shows, without flicker. What doesn't fit is cut
// off at the bottom: the headline must stay.
func redraw(text string, rows int) string {
	const home, endOfLine, below = "\x1b[H", "\x1b[K", "\x1b[J"
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = lines[:min(len(lines), max(1, rows-1))]
	return home + strings.Join(lines, endOfLine+"\n") + endOfLine + "\n" + below
}

// terminalRows returns the height of the terminal behind w, 24 if it has none.
func terminalRows(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 {
			return int(size.Row)
		}
	}
	return 24
}

// line is an answer in one line.
func (a answer) line() string {
	text := dashboard.Summarize(a.status).Headline
	if a.Problem != "" {
		text += ", unhealthy: " + a.Problem
	}
	return fmt.Sprintf("%s  %s  %s\n", a.status.Time.UTC().Format(time.RFC3339), a.status.State, plain(text))
}
