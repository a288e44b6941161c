package systemd

import (
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// command is D-Bus type (sasb). The newer ...Ex properties must not be used:
// systemd 252 writes them into the transient unit's file as "ExecStartEx=", a
// key that it does not know when the next daemon-reload reads that file, and
// the unit has no commands any more. A guard would be gone by the very switch
// that it guards.
type command struct {
	Path          string
	Args          []string
	IgnoreFailure bool
}

// timer is D-Bus type (st).
type timer struct {
	Base string
	USec uint64
}

func prop(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}

// run is a command whose failure is the unit's.
func run(kind string, argv ...string) dbus.Property {
	return prop(kind, []command{{argv[0], literally(argv), false}})
}

// try is a command whose failure changes nothing.
func try(kind string, argv ...string) dbus.Property {
	return prop(kind, []command{{argv[0], literally(argv), true}})
}

// literally keeps systemd from taking "$" for a variable.
func literally(argv []string) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = strings.ReplaceAll(a, "$", "$$")
	}
	return out
}

func usec(d time.Duration) uint64 { return uint64(d / time.Microsecond) }

// asPID1Child are the properties of every unit that may change the system. It
// hangs on PID 1, so it outlives the agent, which the switch itself restarts.
func (s *System) asPID1Child(what, record string, limit time.Duration) []dbus.Property {
	return []dbus.Property{
		prop("Description", what),
		prop("Type", "exec"),
		prop("KillMode", "mixed"),
		// A switch that ignores SIGTERM must not hold up the guard.
		prop("TimeoutStopUSec", usec(10*time.Second)),
		prop("RuntimeMaxUSec", usec(limit)),
		prop("CollectMode", "inactive-or-failed"),
		prop("OOMScoreAdjust", int32(-900)),
		prop("IgnoreOnIsolate", true),
		// systemd forgets the unit at once, with its exit status.
		try("ExecStopPost", s.Paths.Pullnode, "record", record),
	}
}

// withHandoff lets the handed-over or held key live exactly as long as somebody
// who needs it runs.
func (s *System) withHandoff(props []dbus.Property) []dbus.Property {
	var units []string
	for _, u := range []string{s.Handoff, s.Hold} {
		if u != "" {
			units = append(units, u)
		}
	}
	if units == nil {
		return props
	}
	return append(props, prop("Wants", units), prop("After", units))
}

func (s *System) switchProps(id, toplevel string) []dbus.Property {
	return s.withHandoff(append(
		s.asPID1Child("pullnode: try "+toplevel, id, s.SwitchMax),
		run("ExecStart", toplevel+"/bin/switch-to-configuration", "test")))
}

// backProps are those of a switch that nothing may refuse.
func (s *System) backProps(id, toplevel string) []dbus.Property {
	return append(s.switchProps(id, toplevel), unchecked())
}

func (s *System) bootProps(id, toplevel string) []dbus.Property {
	return append(
		s.asPID1Child("pullnode: make "+toplevel+" the default", "boot-"+id, s.BootMax),
		// Here and not in the agent, for which /boot is read-only.
		try("ExecStartPre", s.Paths.Pullnode, "clean-loader", s.Paths.Loader),
		run("ExecStart", toplevel+"/bin/switch-to-configuration", "boot"))
}

// bootBackProps are those of a boot loader step that nothing may refuse.
func (s *System) bootBackProps(id, toplevel string) []dbus.Property {
	return append(s.bootProps(id, toplevel), unchecked())
}

// guardProps are the timer's and the service's. No DefaultDependencies: they
// are Requires=sysinit.target, and a new system that breaks that target would
// thereby keep the guard from starting. No Conflicts= with the switch: systemd
// would stop the switch before ExecCondition= is asked.
func (s *System) guardProps(id, old string, at time.Duration) (timerProps, service []dbus.Property) {
	end := []dbus.Property{
		prop("DefaultDependencies", false),
		prop("Conflicts", []string{"shutdown.target"}),
		prop("Before", []string{"shutdown.target"}),
	}
	timerProps = append([]dbus.Property{
		prop("Description", "pullnode: when to go back to "+old),
		// From when systemd started, not from now: every daemon-reload would
		// start OnActiveSec= anew. OnBootSec= would be the same on a machine,
		// but in a container it counts from the start of systemd as well, so
		// this one needs no guess where it runs.
		prop("TimersMonotonic", []timer{{"OnStartupSec", usec(at)}}),
		prop("AccuracyUSec", usec(100*time.Millisecond)),
		prop("RemainAfterElapse", false),
		prop("CollectMode", "inactive-or-failed"),
		prop("IgnoreOnIsolate", true),
	}, end...)
	if s.Hold != "" {
		timerProps = append(timerProps, prop("Wants", []string{s.Hold}))
	}
	service = append(s.asPID1Child("pullnode: go back to "+old, "guard-"+id, s.SwitchMax), end...)
	service = append(service,
		prop("TimeoutStartUSec", usec(2*time.Minute)),
		run("ExecCondition", s.Paths.Pullnode, "decide", id, "revert"),
		s.stopSwitch(id),
		unchecked(),
		run("ExecStart", old+"/bin/switch-to-configuration", "test"))
	return timerProps, s.withHandoff(service)
}

// stopSwitch asks three times: a daemon-reexec, which may be the switch's own,
// cuts the first request off, and the revert would run beside the switch. Each
// fails without harm when the switch has ended long ago.
func (s *System) stopSwitch(id string) dbus.Property {
	stop := command{s.Paths.Systemctl, []string{s.Paths.Systemctl, "stop", switchUnit(id)}, true}
	return prop("ExecStartPre", []command{stop, stop, stop})
}

// unchecked has switch-to-configuration leave out the system's own pre-switch checks.
func unchecked() dbus.Property { return prop("Environment", []string{"NIXOS_NO_CHECK=1"}) }

func switchUnit(id string) string   { return "pullnode-switch-" + id + ".service" }
func bootUnit(id string) string     { return "pullnode-boot-" + id + ".service" }
func guardTimer(id string) string   { return "pullnode-guard-" + id + ".timer" }
func guardService(id string) string { return "pullnode-guard-" + id + ".service" }
