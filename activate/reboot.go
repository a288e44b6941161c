package activate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// onlyByReboot says why no switch leads from the running system to the candidate,
// or nothing. It asks what switch-to-configuration and its check of inhibitors ask,
// but before anything is started: there the one is exit status 100 and the other
// the same 1 as any refusal. A toplevel without the files has nothing to say.
func onlyByReboot(running, candidate StorePath) (string, error) {
	was, err := readOptional(running, "init-interface-version")
	if err != nil {
		return "", err
	}
	is, err := readOptional(candidate, "init-interface-version")
	if err != nil {
		return "", err
	}
	if was != nil && is != nil && string(was) != string(is) {
		return fmt.Sprintf("init's interface changes from %q to %q", was, is), nil
	}
	old, err := inhibitors(running)
	if err != nil {
		return "", err
	}
	now, err := inhibitors(candidate)
	if err != nil {
		return "", err
	}
	var changes []string
	for name, before := range old {
		// What only one of the two has is none to NixOS either.
		if after, ok := now[name]; ok && after != before {
			changes = append(changes, fmt.Sprintf("%s (%q, was %q)", name, after, before))
		}
	}
	if len(changes) == 0 {
		return "", nil
	}
	slices.Sort(changes)
	return "it changes " + strings.Join(changes, ", "), nil
}

// inhibitors reads what NixOS' option system.switch.inhibitors left in a toplevel.
func inhibitors(p StorePath) (map[string]string, error) {
	raw, err := readOptional(p, "switch-inhibitors")
	if err != nil || raw == nil {
		return nil, err
	}
	m := map[string]string{}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%s/switch-inhibitors: %w", p, err)
	}
	return m, nil
}

// readOptional reads a file of a toplevel, nil where there is none.
func readOptional(p StorePath, name string) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(string(p), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}
