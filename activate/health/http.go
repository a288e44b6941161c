package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"pullnode/internal/registry"
)

// bodyLimit is how much of an answer the body expression sees.
const bodyLimit = 1 << 20

func init() {
	registry.Add(&Kinds, "http", func(s httpSettings) (Maker, error) {
		c, err := s.check()
		return Maker{Network: true, Make: func(Spec, Seams) (Check, error) { return c, nil }}, err
	})
}

type httpSettings struct {
	URL       string `json:"url"`
	Status    string `json:"status"`
	Body      string `json:"body"`
	TLSVerify *bool  `json:"tlsVerify"`
}

type httpCheck struct {
	url      string
	min, max int
	body     *regexp.Regexp
	verify   bool
}

func (s httpSettings) check() (c httpCheck, err error) {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil:
		return c, fmt.Errorf("url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return c, fmt.Errorf("url: want http://host/ or https://host/, got %q", s.URL)
	case u.User != nil:
		return c, errors.New("url: a name or password in it would be readable by everyone")
	}
	c.url, c.verify = s.URL, s.TLSVerify == nil || *s.TLSVerify
	if c.min, c.max, err = statusRange(s.Status); err != nil {
		return c, fmt.Errorf("status: %w", err)
	}
	if s.Body != "" {
		if c.body, err = regexp.Compile(s.Body); err != nil {
			return c, fmt.Errorf("body: %w", err)
		}
	}
	return c, nil
}

// statusRange reads "200" or "200-299"; empty is the latter.
func statusRange(s string) (from, to int, err error) {
	if s == "" {
		return 200, 299, nil
	}
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil || from < 100 || to > 599 || from > to {
		return 0, 0, fmt.Errorf("want a status like \"200\" or \"200-299\", got %q", s)
	}
	return from, to, nil
}

// Run makes one request on a connection of its own. It uses no proxy, since it
// asks about this machine, and follows no redirect, since where it leads may
// well be another one.
func (c httpCheck) Run(ctx context.Context) error {
	t := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: !c.verify},
	}
	defer t.CloseIdleConnections()
	client := http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "pullnode-health")
	resp, err := client.Do(req)
	if err != nil {
		var outer *url.Error // says "Get" in its own way
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return fmt.Errorf("get %s: %w", c.url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < c.min || resp.StatusCode > c.max {
		return fmt.Errorf("get %s: status %d, want %d-%d", c.url, resp.StatusCode, c.min, c.max)
	}
	if c.body == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return fmt.Errorf("get %s: %w", c.url, err)
	}
	if !c.body.Match(body) {
		return fmt.Errorf("get %s: the body does not match %q", c.url, c.body)
	}
	return nil
}
