package main

import (
	"errors"
	"strings"
	"testing"
)

func TestBootGoesOn(t *testing.T) {
	for finished, want := range map[string]bool{"@t 0": true, "@t 7301995": false, "": false, "@t 10": false} {
		if got := bootGoesOn(finished); got != want {
			t.Errorf("%q: %v", finished, got)
		}
	}
}

// Whoever stands before a machine that does not come up must read how it does.
func TestBlockedBootNamesTheWayOut(t *testing.T) {
	text := blockedBoot(errors.New("no key: file:/k: absent"))
	for _, say := range []string{"no key: file:/k: absent", "systemctl stop pullnode-await-key.service", "systemd.mask=pullnode-await-key.service"} {
		if !strings.Contains(text, say) {
			t.Errorf("%q does not say %q", text, say)
		}
	}
}
