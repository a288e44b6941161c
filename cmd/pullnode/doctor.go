package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"pullnode/activate/health"
	"pullnode/activate/systemd"
	"pullnode/internal/config"
	"pullnode/internal/state"
	"pullnode/keysrc"
)

// level is how a part is.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn"
	levelFail level = "fail"
	levelSkip level = "skip" // could not be looked at, because something else is wrong
)

// finding is one line of doctor.
type finding struct {
	Part  string `json:"part"`
	Level level  `json:"level"`
	Text  string `json:"text"`
	Next  string `json:"next,omitempty"` // what to do about it
}

// doctor looks at every part by itself and changes none. What it asks the machine
// is in its fields, so that a test can have each of them say no.
type doctor struct {
	path  string // of the settings
	root  string // of the one-process mode, or ""
	state state.Config
	run   string
	// current and profile are the links to what runs and what boots.
	current, profile string
	boots            []string // where the boot loader may be
	nixEnv           []string // nil where the daemon is asked
	daemon           string   // its socket, "" where none is used
	units            health.Systemd
	seams            health.Seams
	keys             func(*config.Config) (keysrc.Prover, error)
	now              func() time.Time
	synchronised     func() (bool, error)
	statfs           func(path string) (unix.Statfs_t, error)

	config   *config.Config // nil when it is not valid
	findings []finding
}

func doctorCommand() *command {
	var path, root, dir string
	var asJSON bool
	return &command{args: "[--config FILE] [--root DIR] [--json]", short: "try every part by itself; changes nothing",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&path, "config", configPath, "settings file")
			fs.StringVar(&root, "root", "", "the directory of the one-process mode")
			fs.StringVar(&dir, "state", stateDir, "the agent's state directory, without --root")
			jsonFlag(fs, &asJSON)
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			d := onHost(dir)
			if root != "" {
				abs, err := filepath.Abs(root)
				if err != nil {
					return err
				}
				d = inOnePlace(abs)
			}
			d.path = path
			d.look(ctx)
			return d.print(out, asJSON)
		}}
}

// onHost is for an installed host.
func onHost(dir string) *doctor {
	d := &doctor{state: state.Config{Dir: dir, FloorPath: floorPath}, run: runDir, current: "/run/current-system",
		profile: "/nix/var/nix/profiles/system", boots: []string{"/boot", "/efi", "/boot/efi"}, daemon: "/nix/var/nix/daemon-socket/socket",
		keys: func(*config.Config) (keysrc.Prover, error) { return keysrc.Client{Path: keySocket}, nil }}
	d.machine()
	d.seams = health.Seams{Commander: lookedUp{}, Systemd: noSystemd{}}
	if _, err := os.Stat("/run/systemd/private"); err == nil {
		d.units = systemd.NewUnits(systemd.UnitsSettings{})
		d.seams.Systemd = d.units
	}
	return d
}

// inOnePlace is for what lives below one directory.
func inOnePlace(root string) *doctor {
	d := &doctor{root: root, state: placeState(root), run: filepath.Join(root, "run"), current: filepath.Join(root, "run", "current-system"),
		profile: filepath.Join(root, "profiles", "system"), nixEnv: ownStore(root),
		keys: func(c *config.Config) (keysrc.Prover, error) { return chain(c) }}
	d.machine()
	d.seams.Commander = health.Plain{}
	return d
}

func (d *doctor) machine() {
	d.now, d.synchronised = time.Now, clockSynchronised
	d.statfs = func(path string) (st unix.Statfs_t, err error) { return st, unix.Statfs(path, &st) }
}

func (d *doctor) look(ctx context.Context) {
	d.settings()
	d.memory()
	d.system()
	d.remotes(ctx)
	d.key(ctx)
	d.checks(ctx)
	d.nix(ctx)
	d.services(ctx)
	d.clock()
	d.disks()
	d.loader()
}

func (d *doctor) add(part string, l level, next, format string, args ...any) {
	d.findings = append(d.findings, finding{Part: part, Level: l, Text: fmt.Sprintf(format, args...), Next: next})
}

// ok, warn and fail add a line; next is what to do.
func (d *doctor) ok(part, format string, args ...any) { d.add(part, levelOK, "", format, args...) }
func (d *doctor) warn(part, next, format string, args ...any) {
	d.add(part, levelWarn, next, format, args...)
}
func (d *doctor) fail(part, next, format string, args ...any) {
	d.add(part, levelFail, next, format, args...)
}

func (d *doctor) count(l level) (n int) {
	for _, f := range d.findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

func (d *doctor) print(out io.Writer, asJSON bool) error {
	problems, warnings := d.count(levelFail), d.count(levelWarn)
	var err error
	if asJSON {
		err = printJSON(out, struct {
			Findings []finding `json:"findings"`
			Problems int       `json:"problems"`
			Warnings int       `json:"warnings"`
		}{d.findings, problems, warnings})
	} else {
		printFindings(out, d.findings, marks(out))
		_, err = fmt.Fprintf(out, "\n%s, %s\n", plural(problems, "problem"), plural(warnings, "warning"))
	}
	if err == nil && problems > 0 {
		return exitError(exitFailed)
	}
	return err
}

func printFindings(out io.Writer, list []finding, mark map[level]string) {
	last := ""
	for _, f := range list {
		part := f.Part
		if part == last {
			part = ""
		}
		last = f.Part
		fmt.Fprintf(out, "%-8s %-4s %s\n", part, mark[f.Level], safe(f.Text))
		if f.Next != "" {
			fmt.Fprintf(out, "%13s %s\n", "", safe(f.Next))
		}
	}
}

// marks are signs for a terminal, and words for everything else.
func marks(out io.Writer) map[level]string {
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return map[level]string{levelOK: "✓", levelWarn: "!", levelFail: "✗", levelSkip: "·"}
		}
	}
	return map[level]string{levelOK: "ok", levelWarn: "warn", levelFail: "FAIL", levelSkip: "skip"}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
