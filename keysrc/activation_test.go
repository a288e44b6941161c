package keysrc_test

import (
	"os"
	"testing"

	"pullnode/keysrc"
)

func TestActivatedListener(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test asks as root and needs root")
	}
	path, socket := listen(t)
	asSystemd(t, `{"type":"file","path":"/nonexistent"}`, socket, nil)
	_, _, err := keysrc.Client{Path: path}.Preflight(t.Context(), nil)
	wantErr(t, err, "key agent: no key: file:/nonexistent: absent")

	t.Setenv("LISTEN_FDS", "1")
	for _, pid := range []string{"", "1", "x"} {
		t.Setenv("LISTEN_PID", pid)
		if l, err := keysrc.ActivatedListener(); l != nil || err != nil {
			t.Errorf("took a socket that is for process %q: %v, %v", pid, l, err)
		}
	}
}
