package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// network is a network namespace joined to this machine by one cable. Its far
// end is called host0, as systemd-nspawn's own is.
type network struct {
	name        string // of the namespace
	cable       string // the end that is here
	host, guest string
}

// newNetwork takes the first free number: the kernel refuses a second device of
// the same name, which makes the name a lock between processes.
func newNetwork(ctx context.Context) (*network, error) {
	for i := range 64 {
		n := &network{name: fmt.Sprintf("pullnode-lab%d", i), cable: fmt.Sprintf("pnlab%d", i),
			host: fmt.Sprintf("10.99.0.%d", 4*i+1), guest: fmt.Sprintf("10.99.0.%d", 4*i+2)}
		err := ip(ctx, "netns add", n.name)
		if err != nil && strings.Contains(err.Error(), "File exists") {
			continue
		}
		if err == nil {
			err = n.up(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, n.close())
		}
		return n, nil
	}
	return nil, errors.New("no free network: ip netns list shows what was left behind")
}

func (n *network) up(ctx context.Context) error {
	for _, c := range []string{
		"link add " + n.cable + " type veth peer name host0 netns " + n.name,
		"addr add " + n.host + "/30 dev " + n.cable,
		"link set " + n.cable + " up",
		"-n " + n.name + " addr add " + n.guest + "/30 dev host0",
		"-n " + n.name + " link set lo up",
		"-n " + n.name + " link set host0 up",
		"-n " + n.name + " route add default via " + n.host,
	} {
		if err := ip(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// close removes the namespace. The cable goes with it, but later: the kernel
// empties a namespace in the background, so the end that is here goes first.
func (n *network) close() error {
	err := ip(context.Background(), "link del "+n.cable)
	if err != nil && strings.Contains(err.Error(), "Cannot find device") {
		err = nil
	}
	return errors.Join(err, ip(context.Background(), "netns del "+n.name))
}

// note keeps the network's number with the machine that has it, for sweep.
func (n *network) note(dir string) error {
	return os.WriteFile(filepath.Join(dir, "network"), []byte(n.name+" "+n.cable), 0o644)
}

// ip runs ip(8) with the words of its arguments.
func ip(ctx context.Context, args ...string) error {
	words := strings.Fields(strings.Join(args, " "))
	if err := command(ctx, "ip", words...); err != nil {
		return fmt.Errorf("ip %s: %w", strings.Join(words, " "), err)
	}
	return nil
}

// Unplug pulls the machine's network cable, or plugs it in again.
func (h *Host) Unplug(ctx context.Context, out bool) error {
	if h.net == nil {
		return fmt.Errorf("%s has no network", h.Name)
	}
	state := "up"
	if out {
		state = "down"
	}
	return ip(ctx, "link set "+h.net.cable, state)
}
