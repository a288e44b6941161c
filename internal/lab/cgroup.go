package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroup is a control group of a machine's own, in every hierarchy that systemd
// uses. Without it two machines would share one tree and kill each other's
// processes.
type cgroup struct{ dirs []string }

// newCgroup makes the group.
func newCgroup(name string) (*cgroup, error) {
	g, err := findCgroup(name)
	if err != nil {
		return nil, err
	}
	for _, dir := range g.dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	return g, nil
}

// findCgroup says where the group is, whether it is there or not.
func findCgroup(name string) (*cgroup, error) {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	g := &cgroup{}
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || f[2] != "cgroup2" && (f[2] != "cgroup" || !strings.Contains(","+f[3]+",", ",name=systemd,")) {
			continue
		}
		g.dirs = append(g.dirs, filepath.Join(f[1], name))
	}
	if len(g.dirs) == 0 {
		return nil, errors.New("no control groups are mounted")
	}
	return g, nil
}

// enter is a shell script that moves itself into the group and becomes program.
func (g *cgroup) enter(program string) string {
	var b strings.Builder
	for _, d := range g.dirs {
		fmt.Fprintf(&b, "echo $$ > '%s/cgroup.procs' || exit 1\n", d)
	}
	return b.String() + "exec " + program + ` "$@"`
}

// kill ends what still runs in the group, and waits until nothing does.
func (g *cgroup) kill() error {
	if g == nil {
		return nil
	}
	for range 500 {
		alive := 0
		for _, d := range g.dirs {
			filepath.WalkDir(d, func(p string, e fs.DirEntry, err error) error {
				if err != nil || e.Name() != "cgroup.procs" {
					return nil
				}
				raw, _ := os.ReadFile(p)
				for _, f := range strings.Fields(string(raw)) {
					if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
						alive++
						syscall.Kill(pid, syscall.SIGKILL)
					}
				}
				return nil
			})
		}
		if alive == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("processes in %s do not die", g.dirs[0])
}

// procs gives the processes, by their numbers here, of the machine's units whose
// names match the pattern.
func (g *cgroup) procs(pattern string) (pids []int, err error) {
	err = filepath.WalkDir(g.dirs[0], func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // gone meanwhile
		}
		if ok, err := filepath.Match(pattern, e.Name()); err != nil || !ok {
			return err
		}
		raw, _ := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		for _, f := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

// close removes the group; its processes must have ended.
func (g *cgroup) close() error {
	var errs []error
	for _, d := range g.dirs {
		var below []string
		filepath.WalkDir(d, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				below = append(below, p)
			}
			return nil
		})
		sort.Sort(sort.Reverse(sort.StringSlice(below))) // children first
		for _, p := range below {
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
