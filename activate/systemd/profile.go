package systemd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pullnode/activate"
	"pullnode/internal/durable"
)

// Facts reads the links, the boot id and the clock. A link that is missing is
// an error: the truth is unknown.
func (s *System) Facts(context.Context) (activate.Facts, error) {
	running, err := s.Paths.resolve(s.Paths.Current)
	if err != nil {
		return activate.Facts{}, fmt.Errorf("which system runs: %w", err)
	}
	def, err := s.Paths.resolve(s.Paths.Profile)
	if err != nil {
		return activate.Facts{}, fmt.Errorf("which system boots: %w", err)
	}
	id, err := s.bootID()
	if err != nil {
		return activate.Facts{}, fmt.Errorf("which boot this is: %w", err)
	}
	now, err := clock(unix.CLOCK_BOOTTIME)
	if err != nil {
		return activate.Facts{}, err
	}
	half, err := s.halfSwitched()
	if err != nil {
		return activate.Facts{}, fmt.Errorf("whether a switch is half done: %w", err)
	}
	return activate.Facts{
		Running:      activate.StorePath(running),
		Default:      activate.StorePath(def),
		BootID:       id,
		Now:          now,
		HalfSwitched: half,
	}, nil
}

// halfSwitched looks for the list of units to start. switch-to-configuration writes it
// before it stops the first unit, with at least the targets that are up, and removes
// it at its end; the next run goes on from it.
func (s *System) halfSwitched() (bool, error) {
	_, err := os.Stat(filepath.Join(s.Paths.SwitchState, "start-list"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// bootID tells one boot from all others. The kernel's id alone does not do that in
// a container, where a service with a /proc of its own sees the id of the machine
// outside; so the run directory, which no reboot survives, holds a number too.
func (s *System) bootID() (string, error) {
	kernel, err := os.ReadFile(s.Paths.BootID)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.Paths.Run, "boot")
	own, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := durable.CreateExclusive(path, []byte(rand.Text()+"\n"), 0o600); err != nil {
			return "", err
		}
		own, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(kernel)) + "/" + strings.TrimSpace(string(own)), nil
}

// SetProfile runs nix-env between two syncs: nix-env itself syncs nothing, and
// after a power cut the old link would be there again.
func (s *System) SetProfile(ctx context.Context, p activate.StorePath) (int, error) {
	if filepath.Dir(string(p)) != filepath.Clean(s.Paths.Store) {
		return 0, fmt.Errorf("set the system profile: %q is no store path", p)
	}
	if err := s.sync(ctx); err != nil {
		return 0, err
	}
	home, err := os.MkdirTemp("", "pullnode-nix-env-")
	if err != nil {
		return 0, fmt.Errorf("set the system profile: %w", err)
	}
	defer os.RemoveAll(home)
	cmd := exec.CommandContext(ctx, s.Paths.NixEnv, "-p", s.Paths.Profile, "--set", string(p))
	cmd.Env = append([]string{"NIX_REMOTE=daemon"}, homeEnv(home)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("set the system profile to %s: %w: %s", p, err, lastLine(stderr.Bytes()))
	}
	if err := s.sync(ctx); err != nil {
		return 0, err
	}
	if got, err := s.Paths.resolve(s.Paths.Profile); err != nil || got != string(p) {
		return 0, errors.Join(fmt.Errorf("set the system profile to %s: it is %q afterwards", p, got), err)
	}
	return generation(s.Paths.Profile)
}

var generationLink = regexp.MustCompile(`-([0-9]+)-link$`)

// generation reads the number from the name that the profile's link has.
func generation(profile string) (int, error) {
	to, err := os.Readlink(profile)
	if err != nil {
		return 0, err
	}
	m := generationLink.FindStringSubmatch(to)
	if m == nil {
		return 0, fmt.Errorf("%s leads to %q, which has no generation number", profile, to)
	}
	return strconv.Atoi(m[1])
}

// sync brings the store and the profiles to the disk. They may be two
// filesystems.
func (s *System) sync(ctx context.Context) error {
	for _, dir := range []string{s.Paths.Nix, s.Paths.Store, filepath.Dir(s.Paths.Profile)} {
		if err := syncfs(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// syncfs gives up waiting when ctx ends; the kernel goes on.
func syncfs(ctx context.Context, dir string) error {
	done := make(chan error, 1)
	go func() {
		f, err := os.Open(dir)
		if err != nil {
			done <- err
			return
		}
		defer f.Close()
		done <- unix.Syncfs(int(f.Fd()))
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("sync the filesystem of %s: %w", dir, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sync the filesystem of %s: %w", dir, ctx.Err())
	}
}

// readlink gives the target as an absolute path.
func readlink(path string) (string, error) {
	to, err := os.Readlink(path)
	if err == nil && !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(path), to)
	}
	return to, err
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strconv.Quote(lines[len(lines)-1])
}
