package systemd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// callTimeout bounds one question to systemd. It is long because a
// daemon-reload of a big system keeps PID 1 busy for seconds.
const callTimeout = 25 * time.Second

// state is what systemd says of one unit.
type state struct {
	load, active, sub string
	job               bool // a start or stop of it is queued
	result            string
	restarts          uint32
	invocation        string // hex
	transient         bool
	fragment          string
	dropIns           []string
}

// runs is false only when the unit is at rest and nothing is about to start it.
func (s state) runs() bool {
	return s.job || s.active != "inactive" && s.active != "failed"
}

// bus is what this package asks of systemd; tests put another one in its place.
// Every error means that the truth is unknown.
type bus interface {
	start(ctx context.Context, name string, props []dbus.Property, aux ...dbus.PropertyCollection) error
	stop(ctx context.Context, name string) error
	state(ctx context.Context, name string) (state, error)
	// userspace is when this systemd started, on CLOCK_MONOTONIC.
	userspace(ctx context.Context) (time.Duration, error)
	list(ctx context.Context, states []string) ([]dbus.UnitStatus, error)
}

// errExists: a unit of that name is loaded. It is an answer, not a failure.
var errExists = errors.New("unit exists already")

// private talks to systemd's private socket, which needs no dbus-daemon: that
// one may be what the switch restarts. The connection is dropped at each error
// that is not an answer and made anew for the next call.
type private struct {
	mu   sync.Mutex
	conn *dbus.Conn
	kill context.CancelFunc // ends conn
}

func (b *private) get(ctx context.Context) (*dbus.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil && b.conn.Connected() {
		return b.conn, nil
	}
	if b.conn != nil {
		b.kill()
		b.conn = nil
	}
	// The context of a connection is its life, so it must not be ctx; but the
	// handshake waits for PID 1, so ctx must be able to end that.
	life, kill := context.WithCancel(context.Background())
	type dialled struct {
		conn *dbus.Conn
		err  error
	}
	ch := make(chan dialled, 1)
	go func() {
		c, err := dbus.NewSystemdConnectionContext(life)
		ch <- dialled{c, err}
	}()
	select {
	case d := <-ch:
		if d.err != nil {
			kill()
			return nil, fmt.Errorf("reach systemd: %w", d.err)
		}
		b.conn, b.kill = d.conn, kill
		return d.conn, nil
	case <-ctx.Done():
		kill()
		return nil, fmt.Errorf("reach systemd: %w", ctx.Err())
	}
}

func (b *private) do(ctx context.Context, f func(context.Context, *dbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := b.get(ctx)
	if err != nil {
		return err
	}
	err = f(ctx, c)
	var answer godbus.Error
	if err != nil && !errors.As(err, &answer) {
		b.mu.Lock()
		if b.conn == c {
			b.kill()
			b.conn = nil
		}
		b.mu.Unlock()
	}
	return err
}

func errorName(err error) string {
	var answer godbus.Error
	if errors.As(err, &answer) {
		return answer.Name
	}
	return ""
}

// refused tells an answer that will stay the same from one that systemd may give
// while it re-executes itself.
func refused(err error) bool {
	switch errorName(err) {
	case "org.freedesktop.DBus.Error.InvalidArgs",
		"org.freedesktop.DBus.Error.PropertyReadOnly",
		"org.freedesktop.DBus.Error.InvalidSignature",
		"org.freedesktop.DBus.Error.AccessDenied",
		"org.freedesktop.systemd1.BadUnitSetting",
		"org.freedesktop.systemd1.UnitMasked":
		return true
	}
	return false
}

func (b *private) start(ctx context.Context, name string, props []dbus.Property, aux ...dbus.PropertyCollection) error {
	if aux == nil {
		aux = []dbus.PropertyCollection{}
	}
	err := b.do(ctx, func(ctx context.Context, c *dbus.Conn) error {
		// No channel: the signal that the job has ended is lost when systemd
		// re-executes itself, so callers look at the unit instead.
		_, err := c.StartTransientUnitAux(ctx, name, "fail", props, aux, nil)
		return err
	})
	if errorName(err) == "org.freedesktop.systemd1.UnitExists" {
		return errExists
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

func (b *private) stop(ctx context.Context, name string) error {
	err := b.do(ctx, func(ctx context.Context, c *dbus.Conn) error {
		_, err := c.StopUnitContext(ctx, name, "replace", nil)
		return err
	})
	if errorName(err) == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
}

func (b *private) state(ctx context.Context, name string) (state, error) {
	var s state
	err := b.do(ctx, func(ctx context.Context, c *dbus.Conn) error {
		// All interfaces at once, so that the answer is of one moment.
		p, err := c.GetAllPropertiesContext(ctx, name)
		if err != nil {
			return err
		}
		s.load, _ = p["LoadState"].(string)
		s.active, _ = p["ActiveState"].(string)
		s.sub, _ = p["SubState"].(string)
		s.result, _ = p["Result"].(string)
		s.restarts, _ = p["NRestarts"].(uint32)
		id, _ := p["InvocationID"].([]byte)
		s.invocation = hex.EncodeToString(id)
		s.transient, _ = p["Transient"].(bool)
		s.fragment, _ = p["FragmentPath"].(string)
		s.dropIns, _ = p["DropInPaths"].([]string)
		if job, ok := p["Job"].([]any); ok && len(job) > 0 {
			id, _ := job[0].(uint32)
			s.job = id != 0
		}
		if s.active == "" {
			return errors.New("systemd's answer has no ActiveState")
		}
		return nil
	})
	if err != nil {
		return state{}, fmt.Errorf("look at %s: %w", name, err)
	}
	return s, nil
}

func (b *private) userspace(ctx context.Context) (time.Duration, error) {
	var raw string
	err := b.do(ctx, func(ctx context.Context, c *dbus.Conn) error {
		// The library has no deadline for this call.
		defer context.AfterFunc(ctx, c.Close)()
		var err error
		raw, err = c.GetManagerProperty("UserspaceTimestampMonotonic")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("ask systemd when it started: %w", err)
	}
	usec, err := strconv.ParseUint(strings.TrimPrefix(raw, "@t "), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("ask systemd when it started: %q is no time", raw)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

func (b *private) list(ctx context.Context, states []string) (us []dbus.UnitStatus, err error) {
	err = b.do(ctx, func(ctx context.Context, c *dbus.Conn) error {
		us, err = c.ListUnitsFilteredContext(ctx, states)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	return us, nil
}
