// Package config is the settings file: JSON that the NixOS module writes,
// decoded strictly, with every default in one place and every mistake named.
//
// It knows no kinds: the entries of keys.sources and health.checks stay raw
// until the program opens them by name.
package config

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Config is the whole settings file. Unknown fields are errors.
type Config struct {
	// HostName chooses nixosConfigurations.<hostName>. Default: the machine's.
	HostName string `json:"hostName,omitempty"`
	// URL is one remote, short for Remotes with a single entry named "origin".
	URL string `json:"url,omitempty"`
	// Auth belongs to URL.
	Auth Auth `json:"auth,omitzero"`
	// Remotes are asked in order; the first that answers is used.
	Remotes []Remote `json:"remotes,omitempty"`
	// Branch is the one branch that is followed. Default "main".
	Branch string `json:"branch,omitempty"`
	// Dir is the directory of flake.nix in the repository. Default: its root.
	Dir string `json:"dir,omitempty"`
	// Attr is the flake attribute of the system. Default
	// nixosConfigurations."<hostName>".config.system.build.toplevel.
	Attr string `json:"attr,omitempty"`
	// Introduction is "<commit>@SHA256:<fingerprint>": where trust begins.
	Introduction string `json:"introduction"`
	// RevokedKeys are fingerprints that this node refuses whatever the
	// repository says.
	RevokedKeys []string `json:"revokedKeys,omitempty"`
	// RecoveryKey is an offline SSH key, as in authorized_keys, whose reset is
	// followed without anybody else's signature.
	RecoveryKey string `json:"recoveryKey,omitempty"`
	// Operation is what is done with an accepted commit. Default "switch".
	Operation Operation `json:"operation,omitempty"`
	Schedule  Schedule  `json:"schedule,omitzero"`
	Keys      Keys      `json:"keys,omitzero"`
	Health    Health    `json:"health,omitzero"`
	Lifeline  Lifeline  `json:"lifeline,omitzero"`
	Build     Build     `json:"build,omitzero"`
	Fetch     Fetch     `json:"fetch,omitzero"`
}

// Operation is what is done with an accepted commit.
type Operation string

// The operations.
const (
	Switch  Operation = "switch"  // try, check, keep or put back
	Boot    Operation = "boot"    // becomes the default of the next boot
	Test    Operation = "test"    // try and check, never make it the default
	Observe Operation = "observe" // verify, build and report; never activate
)

// Auth is how to read a private repository. The files are given to the
// fetching process alone, as credentials.
type Auth struct {
	TokenFile string `json:"tokenFile,omitempty"` // for https
	KeyFile   string `json:"keyFile,omitempty"`   // SSH private key, for ssh
	HostKey   string `json:"hostKey,omitempty"`   // the server's key, "ssh-ed25519 AAAA…"; pinned
}

// Remote is one place that serves the branch.
type Remote struct {
	Name string `json:"name,omitempty"` // default: "origin", "remote2", …
	URL  string `json:"url"`            // https://, ssh://, file:// or an absolute path
	Auth Auth   `json:"auth,omitzero"`
}

// Schedule says when the remote is asked.
type Schedule struct {
	Interval Duration `json:"interval,omitempty"` // default 5m
	Jitter   Duration `json:"jitter,omitempty"`   // added at random; default a fifth of Interval
	Cron     []string `json:"cron,omitempty"`     // instead of Interval: "*/10 6-22 * * *", local time
}

// Keys says where the host's age identity comes from. Without sources nothing
// of this is touched.
type Keys struct {
	Sources   []json.RawMessage `json:"sources,omitempty"`
	Recipient string            `json:"recipient,omitempty"` // the public half that must come out, "age1…"
	Files     []string          `json:"files,omitempty"`     // SOPS files to prove beside secrets/<host>* and hosts/<host>/
	// Handoff is how a switch gets the identity: "plugin", the default, not at
	// all, but the age plugin asks the keys process; "file", as a file on a
	// ramfs while the switch runs.
	Handoff string `json:"handoff,omitempty"`
	// Hold is how long the keys process keeps the identity: "activation", the
	// default, until nobody needs it any more; "uptime", until it is stopped.
	Hold string `json:"hold,omitempty"`
	// LeakGuard is what becomes of a commit that would put a private key into the
	// Nix store: "refuse", the default, or "warn".
	LeakGuard string `json:"leakGuard,omitempty"`
	// OnMissing is what becomes of a program that asks for a secret while the
	// identity is absent: "degraded", the default, it fails at once; "wait", it
	// waits; "block-boot", it fails, and the boot is not over without the identity.
	OnMissing string `json:"onMissing,omitempty"`
}

// HandsOver says whether the identity is handed over as a file.
func (k Keys) HandsOver() bool { return len(k.Sources) > 0 && k.Handoff == "file" }

// Health says when a new system deserves to stay.
type Health struct {
	Settle    Duration `json:"settle,omitempty"`    // nothing counts before; default 10s
	Window    Duration `json:"window,omitempty"`    // then this long to become good; default 5m
	Interval  Duration `json:"interval,omitempty"`  // between rounds; default 10s
	Successes int      `json:"successes,omitempty"` // good rounds in a row; default 3
	// AllowRestarts says how often systemd may restart a service that a switch
	// touched, by its full name, before that makes the new system bad. Default 0.
	AllowRestarts map[string]uint32          `json:"allowRestarts,omitempty"`
	Checks        map[string]json.RawMessage `json:"checks,omitempty"`
}

// Lifeline is the check that this node can still reach what it is updated from.
type Lifeline struct {
	Window  Duration `json:"window,omitempty"`  // default 5m
	Targets []string `json:"targets,omitempty"` // host:port that count as reached, beside the remotes
}

// Build bounds evaluation and build.
type Build struct {
	Cores         int      `json:"cores,omitempty"`         // nix --cores; default all
	EvalTimeout   Duration `json:"evalTimeout,omitempty"`   // default 30m
	Timeout       Duration `json:"timeout,omitempty"`       // default 6h
	MaxSilentTime Duration `json:"maxSilentTime,omitempty"` // default 30m
	// AllowImportFromDerivation lets evaluation run builds. Default no.
	AllowImportFromDerivation bool `json:"allowImportFromDerivation,omitempty"`
	// SwitchTimeout ends a hanging switch. Default 10m.
	SwitchTimeout Duration `json:"switchTimeout,omitempty"`
}

// Fetch bounds what a server may send.
type Fetch struct {
	Timeout  Duration `json:"timeout,omitempty"`  // of one fetch; default 10m
	MaxPack  int64    `json:"maxPack,omitempty"`  // bytes; default 256 MiB
	MaxMem   int64    `json:"maxMem,omitempty"`   // bytes of the fetching child; default 512 MiB
	MaxFiles int      `json:"maxFiles,omitempty"` // files of one commit; default 200,000
}

// Duration is a Go duration as a string: "90s", "2h".
type Duration time.Duration

// UnmarshalJSON reads "90s".
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return fmt.Errorf("%s: want a duration in quotes, like \"90s\" or \"2h\"", raw)
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration; write it like \"90s\" or \"2h\"", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes "1m30s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// D gives the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (c *Config) defaults() {
	if c.HostName == "" {
		c.HostName, _ = os.Hostname()
	}
	if c.URL != "" {
		c.Remotes = append([]Remote{{Name: "origin", URL: c.URL, Auth: c.Auth}}, c.Remotes...)
	}
	for i := range c.Remotes {
		if c.Remotes[i].Name == "" {
			c.Remotes[i].Name = "origin"
			if i > 0 {
				c.Remotes[i].Name = fmt.Sprintf("remote%d", i+1)
			}
		}
	}
	set(&c.Branch, "main")
	set(&c.Operation, Switch)
	set(&c.Keys.Handoff, "plugin")
	set(&c.Keys.Hold, "activation")
	set(&c.Keys.OnMissing, "degraded")
	set(&c.Keys.LeakGuard, "refuse")
	set(&c.Schedule.Interval, Duration(5*time.Minute))
	set(&c.Schedule.Jitter, c.Schedule.Interval/5)
	set(&c.Health.Settle, Duration(10*time.Second))
	set(&c.Health.Window, Duration(5*time.Minute))
	set(&c.Health.Interval, Duration(10*time.Second))
	set(&c.Health.Successes, 3)
	set(&c.Lifeline.Window, Duration(5*time.Minute))
	set(&c.Build.EvalTimeout, Duration(30*time.Minute))
	set(&c.Build.Timeout, Duration(6*time.Hour))
	set(&c.Build.MaxSilentTime, Duration(30*time.Minute))
	set(&c.Build.SwitchTimeout, Duration(10*time.Minute))
	set(&c.Fetch.Timeout, Duration(10*time.Minute))
	set(&c.Fetch.MaxPack, 256<<20)
	set(&c.Fetch.MaxMem, 512<<20)
	set(&c.Fetch.MaxFiles, 200_000)
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Toplevel gives the flake attribute of this host's system.
func (c *Config) Toplevel() string {
	if c.Attr != "" {
		return c.Attr
	}
	return `nixosConfigurations."` + c.HostName + `".config.system.build.toplevel`
}

// GuardTimeout gives how long a try may take before the guard reverts: every
// step's own limit, two missed watchdogs of the agent, and a margin.
func (c *Config) GuardTimeout() time.Duration {
	const watchdog, margin, handoff = time.Minute, 2 * time.Minute, time.Minute
	checks := max(c.Health.Window, c.Lifeline.Window)
	wait := time.Duration(0)
	if c.Keys.HandsOver() {
		wait = handoff // TimeoutStartSec= of pullnode-handoff.service
	}
	return wait + c.Build.SwitchTimeout.D() + c.Health.Settle.D() + checks.D() + 2*watchdog + margin
}
