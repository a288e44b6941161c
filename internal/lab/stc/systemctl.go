package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// manager is systemd, as far as a switch needs it.
type manager interface {
	// units gives every loaded unit. It asks again for a while, since a systemd
	// that re-executes itself does not answer.
	units() (map[string]state, error)
	// do runs a verb on units and waits, without any limit, until their jobs are
	// done. How they ended is asked afterwards.
	do(verb string, units []string)
	// manage runs a verb on systemd itself.
	manage(verb string) error
}

type systemctl struct{}

func (systemctl) units() (map[string]state, error) {
	var all error
	for range 50 {
		out, err := exec.Command("systemctl", "show", "--all", "*",
			"--property=Id,FragmentPath,ActiveState,SubState,ExecMainStatus").Output()
		if err == nil {
			return parseUnits(out), nil
		}
		all = errors.Join(all, err)
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("systemctl show: %w", all)
}

// parseUnits reads blocks of key=value lines with empty lines between them.
func parseUnits(out []byte) map[string]state {
	units := map[string]state{}
	for block := range bytes.SplitSeq(out, []byte("\n\n")) {
		var s state
		for line := range strings.Lines(string(block)) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			switch key {
			case "Id":
				s.Name = value
			case "FragmentPath":
				s.Fragment = value
			case "ActiveState":
				s.Active = value
			case "SubState":
				s.Sub = value
			case "ExecMainStatus":
				s.MainStatus = value
			}
		}
		if s.Name != "" {
			units[s.Name] = s
		}
	}
	return units
}

func (systemctl) do(verb string, units []string) {
	if len(units) == 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", verb, strings.Join(units, " "))
	cmd := exec.Command("systemctl", append([]string{verb, "--"}, units...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "warning: systemctl %s: %v\n", verb, err)
	}
}

func (systemctl) manage(verb string) error {
	var err error
	for range 50 {
		var out []byte
		if out, err = exec.Command("systemctl", verb).CombinedOutput(); err == nil {
			return nil
		}
		err = fmt.Errorf("systemctl %s: %w: %s", verb, err, bytes.TrimSpace(out))
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
