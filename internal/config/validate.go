package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/robfig/cron/v3"

	"pullnode/internal/registry"
)

// Compiled when first used: a counted repetition takes milliseconds, and every
// command, each command check's too, would wait for them.
var (
	hostRE   = lazily(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})$`)
	branchRE = lazily(`^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$`)
	introRE  = lazily(`^[0-9a-f]{40}@SHA256:[A-Za-z0-9+/]{43}$`)
	fpRE     = lazily(`^(SHA256:[A-Za-z0-9+/]{43}|openpgp4fpr:[0-9A-F]{40})$`)
	attrRE   = lazily(`^[A-Za-z0-9_."'-]{1,300}$`)
)

func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// problems gives every mistake, each with the field's name.
func (c *Config) problems() (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !hostRE().MatchString(c.HostName) {
		bad("hostName", "%q is no host name", c.HostName)
	}
	if len(c.Remotes) == 0 {
		bad("url", "is missing: the Git repository to follow")
	}
	if c.URL == "" && c.Auth != (Auth{}) {
		bad("auth", "belongs to url, which is not set; set remotes[].auth")
	}
	names := map[string]bool{}
	for i, r := range c.Remotes {
		field := fmt.Sprintf("remotes[%d]", i)
		if c.URL != "" {
			field = fmt.Sprintf("remotes[%d]", i-1)
			if i == 0 {
				field = "url"
			}
		}
		if err := r.check(); err != nil {
			bad(field, "%v", err)
		}
		if names[r.Name] || !hostRE().MatchString(r.Name) {
			bad(field+".name", "%q is there twice or is no plain name", r.Name)
		}
		names[r.Name] = true
	}
	if !branchRE().MatchString(c.Branch) || strings.Contains(c.Branch, "..") {
		bad("branch", "%q is no branch name", c.Branch)
	}
	if c.Dir != "" && !filepath.IsLocal(c.Dir) {
		bad("dir", "%q is not a directory inside the repository", c.Dir)
	}
	if c.Attr != "" && !attrRE().MatchString(c.Attr) {
		bad("attr", "%q is no flake attribute", c.Attr)
	}
	switch {
	case c.Introduction == "":
		bad("introduction", "is missing: pullnode init prints it")
	case !introRE().MatchString(c.Introduction):
		bad("introduction", "want <commit>@SHA256:<fingerprint>, as pullnode init prints it")
	}
	for i, k := range c.RevokedKeys {
		if !fpRE().MatchString(k) {
			bad(fmt.Sprintf("revokedKeys[%d]", i), "%q is no fingerprint (SHA256:…, or openpgp4fpr: and capital digits)", k)
		}
	}
	ops := []string{string(Switch), string(Boot), string(Test), string(Observe)}
	if !strings.Contains(" "+strings.Join(ops, " ")+" ", " "+string(c.Operation)+" ") {
		bad("operation", "unknown operation %q%s (one of %s)", c.Operation, registry.DidYouMean(string(c.Operation), ops), strings.Join(ops, ", "))
	}
	for i, s := range c.Schedule.Cron {
		if _, err := cron.ParseStandard(s); err != nil {
			bad(fmt.Sprintf("schedule.cron[%d]", i), "%v", err)
		}
	}
	if c.Health.Successes < 1 || c.Health.Successes > 100 {
		bad("health.successes", "want 1 to 100")
	}
	if need := c.Health.Interval * Duration(c.Health.Successes-1); need > c.Health.Window {
		bad("health.window", "%s is too short for %d rounds %s apart", c.Health.Window.D(), c.Health.Successes, c.Health.Interval.D())
	}
	for name := range c.Health.AllowRestarts {
		if filepath.Ext(name) != ".service" {
			bad("health.allowRestarts", "want the full name of a service, like \"web.service\", got %q", name)
		}
	}
	for _, f := range []struct {
		field, got string
		known      []string
	}{
		{"keys.handoff", c.Keys.Handoff, []string{"plugin", "file"}},
		{"keys.hold", c.Keys.Hold, []string{"activation", "uptime"}},
		{"keys.leakGuard", c.Keys.LeakGuard, []string{"refuse", "warn"}},
		{"keys.onMissing", c.Keys.OnMissing, []string{"degraded", "wait", "block-boot"}},
	} {
		if !slices.Contains(f.known, f.got) {
			bad(f.field, "unknown way %q%s (one of %s)", f.got, registry.DidYouMean(f.got, f.known), strings.Join(f.known, ", "))
		}
	}
	for i, t := range c.Lifeline.Targets {
		if _, _, err := net.SplitHostPort(t); err != nil {
			bad(fmt.Sprintf("lifeline.targets[%d]", i), "want host:port, got %q", t)
		}
	}
	return errs
}

func (r Remote) check() error {
	for name, p := range map[string]string{"tokenFile": r.Auth.TokenFile, "keyFile": r.Auth.KeyFile} {
		if p != "" && !filepath.IsAbs(p) {
			return fmt.Errorf("auth.%s: %q is not an absolute path", name, p)
		}
		if strings.HasPrefix(p, "/nix/store/") {
			return fmt.Errorf("auth.%s: %q is in the Nix store, where everybody can read it", name, p)
		}
	}
	if strings.HasPrefix(r.URL, "/") {
		return nil
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return fmt.Errorf("%q is no URL; ssh is written ssh://git@host/path", r.URL)
	}
	if _, has := u.User.Password(); has {
		return fmt.Errorf("a password in the URL would be world-readable: put it into a file and set auth.tokenFile")
	}
	switch u.Scheme {
	case "https", "file":
	case "http":
		if r.Auth.TokenFile != "" && !loopback(u.Hostname()) {
			return fmt.Errorf("auth.tokenFile would be sent unencrypted over http; use https")
		}
	case "ssh":
		if r.Auth.KeyFile == "" || r.Auth.HostKey == "" {
			return fmt.Errorf("ssh needs auth.keyFile and auth.hostKey")
		}
	default:
		return fmt.Errorf("%q: want https://, ssh://, file:// or an absolute path", r.URL)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
