package keysrctest

import (
	"encoding/json"
	"testing"

	"pullnode/keysrc"
)

// SSHRecipient gives the age recipient that belongs to the SSH host key in a file.
func SSHRecipient(tb testing.TB, path string) string {
	tb.Helper()
	source, err := json.Marshal(map[string]string{"type": "ssh-host-key", "path": path})
	if err != nil {
		tb.Fatal(err)
	}
	ch, err := keysrc.OpenAll([]json.RawMessage{source})
	if err != nil {
		tb.Fatal(err)
	}
	k, err := ch.Fetch(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer k.Wipe()
	return k.Recipient()
}
