package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pullnode/internal/state"
)

func (d *doctor) settings() {
	c, err := loadWhole(d.path)
	if err == nil {
		d.config = c
		d.ok("config", "%s is valid: %s follows %s of %s", d.path, c.HostName, c.Branch, c.Remotes[0].URL)
		return
	}
	for _, l := range strings.Split(strings.TrimPrefix(err.Error(), d.path+": "), "\n") {
		d.fail("config", "put it right; pullnode check-config "+d.path+" says whether it is", "%s", l)
	}
}

// memory is the state, its lock and the floor.
func (d *doctor) memory() {
	dir := d.state.Dir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.warn("state", "start it: sudo systemctl start pullnode", "%s is not there: the agent has never run", dir)
		return
	case err != nil:
		d.fail("state", "only root may look: sudo pullnode doctor", "%v", err)
		return
	case info.Mode().Perm()&0o077 != 0:
		d.fail("state", "chmod 700 "+dir, "%s is open to others (%v): whoever writes there decides what this node trusts", dir, info.Mode().Perm())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		d.fail("state", "as its owner (on a node root): sudo pullnode doctor", "%s belongs to user %d", dir, st.Uid)
		return
	}
	switch held, err := state.Held(dir); {
	case err != nil:
		d.fail("state", "look at the disk", "the lock cannot be looked at: %v", err)
	case held:
		d.ok("state", "an agent runs on %s", dir)
	default:
		d.warn("state", "sudo systemctl start pullnode", "no agent runs on %s", dir)
	}
	s, alerts, err := state.Peek(d.state)
	for _, a := range alerts {
		d.warn("state", "look at the disk; pullnode status says what took over", "%s", a)
	}
	switch {
	case errors.Is(err, state.ErrUnreadable):
		d.fail("state", "pullnode trust COMMIT --reason TEXT, with the newest commit that you know to be good", "%v: nothing is deployed", err)
	case errors.Is(err, state.ErrNewerSchema):
		d.fail("state", "boot or switch to the newer system, or install a pullnode at least as new", "%v", err)
	case err != nil:
		d.fail("state", "look at the disk", "%v", err)
	case s.Attempt != nil:
		d.ok("state", "a try of %s is under way: %s", short(s.Attempt.Commit), s.Attempt.Phase)
	case s.Trusted.Commit != "":
		d.ok("state", "%s is trusted, no try is under way", short(s.Trusted.Commit))
	default:
		d.ok("state", "nothing is trusted yet but the introduction")
	}
	d.floor(s)
}

func (d *doctor) floor(s state.State) {
	path := d.state.FloorPath
	t, err := state.PeekFloor(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.Trusted.Commit == "":
		d.ok("floor", "%s is not there yet: nothing was accepted", path)
	case errors.Is(err, fs.ErrNotExist):
		d.warn("floor", "it is written with the next commit; look whether "+filepath.Dir(path)+" is kept over a reboot", "%s is not there: a lost state would begin at the introduction again", path)
	case errors.Is(err, fs.ErrPermission):
		d.fail("floor", "only root may look: sudo pullnode doctor", "%v", err)
	case err != nil:
		d.warn("floor", "it is written anew at the next start of the agent; look at the disk", "%s cannot be read: %v", path, err)
	case s.Trusted.Commit != "" && t.Commit != s.Trusted.Commit:
		d.warn("floor", "it is written anew at the next start of the agent", "%s has %s, the state has %s", path, short(t.Commit), short(s.Trusted.Commit))
	default:
		d.ok("floor", "%s has %s", path, short(t.Commit))
	}
}

// system is what runs and what boots.
func (d *doctor) system() {
	runs, rerr := filepath.EvalSymlinks(d.current)
	boots, berr := filepath.EvalSymlinks(d.profile)
	switch {
	case rerr != nil:
		d.warn("system", "the first commit that is kept becomes it", "%s leads to no system: there is none to go back to", d.current)
	case berr != nil:
		d.warn("system", "the first commit that is kept becomes it", "%s leads to no system", d.profile)
	case runs != boots:
		d.warn("system", "pullnode status says why", "%s runs, but %s boots", filepath.Base(runs), filepath.Base(boots))
	default:
		d.ok("system", "%s runs and boots", filepath.Base(runs))
	}
}
