package activate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pullnode/sync"
)

// Candidate is what a commit means for this host.
type Candidate struct {
	// Source is the commit's tree in the store. No root keeps it there, so it
	// may be gone later.
	Source StorePath
	Drv    StorePath
	Out    StorePath // the toplevel
}

// BuildError is a commit that cannot be turned into a system. Class decides
// whether trying again makes sense.
type BuildError struct {
	Class string // "lock", "export", "no-such-host", "inputs", "eval", "build", "timeout", "no-space", "collected", "killed", "daemon"
	Text  string // one line
	Tail  string // the end of what nix said
	Hint  string
}

// Error gives the one line.
func (e *BuildError) Error() string { return e.Text }

// Temporary says whether the same commit may build later.
func (e *BuildError) Temporary() bool {
	return e.Class == "timeout" || e.Class == "no-space" || e.Class == "inputs" || e.Class == "collected" ||
		e.Class == "killed" || e.Class == "daemon"
}

// Builder resolves and realises systems with nix. It runs nothing of the
// commit itself with authority: evaluation and build are jobs of the Runner.
type Builder struct {
	Runner   Runner
	Store    Store
	Scratch  string // root's own directory for exports
	Dir      string // of flake.nix in the tree
	Attr     string
	HostName string
	Limits   sync.Limits
	Cores    int
	Eval     time.Duration
	Build    time.Duration
	Silent   time.Duration
	IFD      bool
	// RootLink is the GC root that the build's own unit writes, in a directory
	// of that unit's.
	RootLink string
	Roots    Roots
}

// nixFlags are on every nix call: the tree may not widen what is trusted, look
// up what is not locked, or change its own lock.
func (b *Builder) nixFlags() []string {
	return []string{"--extra-experimental-features", "nix-command flakes",
		"--option", "accept-flake-config", "false", "--option", "flake-registry", "",
		"--no-use-registries", "--no-update-lock-file",
		"--option", "allow-import-from-derivation", strconv.FormatBool(b.IFD)}
}

// Resolve says which system the commit means for this host: it exports the
// tree, adds it to the store and evaluates it. Errors are *BuildError where the
// commit is at fault.
func (b *Builder) Resolve(ctx context.Context, v sync.Verified) (Candidate, error) {
	tmp, err := os.MkdirTemp(b.Scratch, "export-")
	if err != nil {
		return Candidate{}, err
	}
	defer os.RemoveAll(tmp)
	src := filepath.Join(tmp, "source")
	if err := v.Export(src, b.Limits); err != nil {
		return Candidate{}, &BuildError{Class: "export", Text: "commit " + v.Commit().ID.Short() + " cannot be exported: " + err.Error()}
	}
	inputs, err := LintLock(filepath.Join(src, b.Dir))
	if err != nil {
		return Candidate{}, &BuildError{Class: "lock", Text: err.Error(), Hint: "run nix flake lock, then commit flake.lock"}
	}
	path, err := b.Store.Add(ctx, src)
	if err != nil {
		return Candidate{}, err
	}
	if err := b.hold(ctx, path); err != nil {
		return Candidate{}, err
	}
	nar, err := b.Store.NarHash(ctx, path)
	if err != nil {
		return Candidate{}, err
	}
	ref := fmt.Sprintf("path:%s?rev=%s&narHash=%s", path, v.Commit().ID, strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(nar))
	if b.Dir != "" {
		ref += "&dir=" + b.Dir
	}
	if inputs {
		argv := append([]string{"nix", "flake", "archive", "--json"}, append(b.nixFlags(), ref)...)
		r, err := b.Runner.Run(ctx, Job{Name: "inputs", Argv: argv, Network: true, Timeout: b.Eval})
		if err != nil {
			return Candidate{}, err
		}
		if r.Exit != 0 || r.Reason != "" {
			return Candidate{}, failed("inputs", "the flake's inputs could not be fetched", r)
		}
		if err := b.hold(ctx, archived(r.Out)...); err != nil {
			return Candidate{}, err
		}
	}
	c, err := b.eval(ctx, ref)
	if err != nil {
		return Candidate{}, err
	}
	c.Source = path
	return c, b.hold(ctx, c.Drv)
}

// hold roots what the next step needs.
func (b *Builder) hold(ctx context.Context, paths ...StorePath) error {
	for _, p := range paths {
		if err := b.Roots.Hold(ctx, p); errors.Is(err, errCollected) {
			return &BuildError{Class: "collected", Text: err.Error()}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// archived reads the store paths that nix flake archive --json names. What
// cannot be read is not rooted; evaluation says so if it is missed.
func archived(raw []byte) (paths []StorePath) {
	type input struct {
		Path   StorePath                  `json:"path"`
		Inputs map[string]json.RawMessage `json:"inputs"`
	}
	var in input
	if json.Unmarshal(raw, &in) != nil {
		return nil
	}
	if isStorePath(in.Path) {
		paths = append(paths, in.Path)
	}
	for _, sub := range in.Inputs {
		paths = append(paths, archived(sub)...)
	}
	return paths
}

func (b *Builder) eval(ctx context.Context, ref string) (Candidate, error) {
	argv := append([]string{"nix", "eval", "--json"}, b.nixFlags()...)
	argv = append(argv, "--apply", "c: { drv = c.drvPath; out = c.outPath; }", ref+"#"+b.Attr)
	r, err := b.Runner.Run(ctx, Job{Name: "eval", Argv: argv, Timeout: b.Eval})
	if err != nil {
		return Candidate{}, err
	}
	if r.Exit != 0 || r.Reason != "" {
		e := failed("eval", "evaluation of "+b.Attr+" stopped", r)
		if strings.Contains(e.Tail, "does not provide attribute") {
			e.Class, e.Text = "no-such-host", fmt.Sprintf("the flake has no host %q (%s)", b.HostName, b.Attr)
			e.Hint = "add nixosConfigurations." + b.HostName + ", or set hostName or attr"
		}
		return Candidate{}, e
	}
	var c struct{ Drv, Out StorePath }
	if err := json.Unmarshal(r.Out, &c); err != nil || !isStorePath(c.Drv) || !isStorePath(c.Out) {
		return Candidate{}, &BuildError{Class: "eval", Text: b.Attr + " is no derivation"}
	}
	return Candidate{Drv: c.Drv, Out: c.Out}, nil
}

// Realise makes the candidate present in the store.
func (b *Builder) Realise(ctx context.Context, c Candidate) error {
	argv := []string{"nix-store", "--realise", string(c.Drv), "--add-root", b.RootLink, "--indirect",
		"--timeout", seconds(b.Build), "--max-silent-time", seconds(b.Silent)}
	if b.Cores > 0 {
		argv = append(argv, "--cores", strconv.Itoa(b.Cores))
	}
	r, err := b.Runner.Run(ctx, Job{Name: "build", Argv: argv, Timeout: b.Build + time.Minute})
	if err != nil {
		return err
	}
	if r.Exit != 0 || r.Reason != "" {
		e := failed("build", "the build of "+filepath.Base(string(c.Out))+" stopped", r)
		if e.Hint == "" {
			e.Hint = "the whole log: nix log " + string(c.Drv)
		}
		if strings.Contains(e.Tail, "is not valid") {
			e.Class, e.Hint = "collected", ""
		}
		return e
	}
	return b.hold(ctx, c.Out)
}

// Release gives up the root of the build's own unit, which nobody else may
// write, and every root of ours but those of the paths to keep.
func (b *Builder) Release(ctx context.Context, keep ...StorePath) error {
	_, err := b.Runner.Run(ctx, Job{Name: "build", Argv: []string{"rm", "-f", b.RootLink}, Timeout: time.Minute})
	return errors.Join(err, b.Roots.Keep(keep...))
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// failed describes a job that ended badly by what nix said last.
func failed(class, what string, r JobResult) *BuildError {
	tail := strings.TrimSpace(string(r.Err))
	e := &BuildError{Class: class, Tail: lastLines(tail, 15)}
	switch {
	case strings.Contains(tail, "No space left on device"):
		e.Class, e.Text = "no-space", what+": no space left on device"
	case r.Reason == "timeout" || r.Exit == 101:
		e.Class, e.Text = "timeout", what+": it took too long"
	case r.Reason == "oom-kill":
		e.Class, e.Text = "killed", what+": the machine had not enough memory"
	case r.Reason != "":
		e.Class, e.Text = "killed", what+": it was killed"
	case strings.Contains(tail, "daemon disconnected") || strings.Contains(tail, "cannot connect to socket") || strings.Contains(tail, "cannot connect to daemon"):
		e.Class, e.Text = "daemon", what+": nix-daemon does not answer: "+firstError(tail)
		e.Hint = "systemctl status nix-daemon"
	default:
		e.Text = what + ": " + firstError(tail)
	}
	return e
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// firstError finds the line that says what went wrong in nix's output.
func firstError(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), "error:"); ok {
			if rest = strings.TrimSpace(rest); rest == "" && i+1 < len(lines) {
				rest = strings.TrimSpace(lines[i+1])
			}
			return rest
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

// isStorePath wants a plain path with one component below a store directory.
func isStorePath(p StorePath) bool {
	base := filepath.Base(string(p))
	return filepath.IsAbs(string(p)) && filepath.Clean(string(p)) == string(p) && len(base) > 33 && base[32] == '-'
}
