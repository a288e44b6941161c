package main

import (
	"path/filepath"
	"strings"
)

// state is what systemd says of one loaded unit.
type state struct {
	Name, Fragment, Active, Sub string
	MainStatus                  string // exit status of a service's main process
}

func (s state) running() bool {
	return s.Active == "active" || s.Active == "activating" || s.Active == "reloading"
}

// failed also knows a service that crashed and waits for its next start.
func (s state) failed() bool {
	return s.Active == "failed" || s.Sub == "auto-restart" && s.MainStatus != "" && s.MainStatus != "0"
}

// plan is which units are touched, and when: stop before the activation, the
// others after it.
type plan struct{ stop, reload, restart, start set }

func newPlan() *plan { return &plan{set{}, set{}, set{}, set{}} }

// planner reads the unit files of the running and of the new system.
type planner struct {
	dir      string // of unit files of the running system
	old, new func(name string) (unit, error)
	// targets that the new system hangs units on
	targets func(name string) bool
}

// make plans for every unit that runs. Only units whose file lies in dir are
// touched, which spares transient units and those of the distribution; a target
// is started again, because that is what starts the units that are new.
func (p *planner) make(units map[string]state, to *plan) error {
	for name, s := range units {
		if !s.running() {
			continue
		}
		if strings.HasSuffix(name, ".target") && p.targets(name) {
			to.start.add(name)
		}
		if filepath.Dir(s.Fragment) != p.dir {
			continue
		}
		was, err := p.old(name)
		if err != nil {
			return err
		}
		is, err := p.new(name)
		if err != nil {
			return err
		}
		switch {
		case was == nil: // loaded, but its file has gone before this switch
		case is == nil:
			if was.flag("X-StopOnRemoval", true) {
				to.stop.add(name)
			}
		default:
			p.kept(name, compare(was, is), is, units, to)
		}
	}
	return nil
}

// kept plans for a unit that both systems have.
func (p *planner) kept(name string, c change, is unit, units map[string]state, to *plan) {
	stem, kind := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	switch {
	case c == same:
	case c == reloadable:
		to.reload.add(name)
	case kind == ".target", kind == ".slice":
	case kind == ".mount", is.flag("X-ReloadIfChanged", false):
		to.reload.add(name)
	case !is.flag("X-RestartIfChanged", true), is.flag("RefuseManualStop", false), is.flag("X-OnlyManualStart", false):
	case !is.flag("X-StopIfChanged", true):
		to.restart.add(name)
	case kind == ".service" && units[stem+".socket"].running() && p.has(stem+".socket"):
		// The socket is closed while its service is down, and starts it again.
		to.stop.add(name)
		to.stop.add(stem + ".socket")
		to.start.add(stem + ".socket")
	default:
		to.stop.add(name)
		to.start.add(name)
	}
}

func (p *planner) has(name string) bool {
	u, err := p.new(name)
	return err == nil && u != nil
}

// settle drops what a unit needs no more: what is stopped and comes again as
// start is not restarted too, and only what still exists is started.
func (p *plan) settle(exists func(name string) bool) {
	for _, s := range []set{p.reload, p.restart, p.start} {
		for name := range s {
			if !exists(name) {
				delete(s, name)
			}
		}
	}
	for name := range p.start {
		delete(p.restart, name)
	}
	for name := range p.restart {
		delete(p.reload, name)
	}
	for name := range p.start {
		delete(p.reload, name)
	}
}
