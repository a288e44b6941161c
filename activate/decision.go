package activate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pullnode/internal/durable"
)

// Decide creates dir's decision file for the try id, or reads the one that is
// there. The file appears with its content or not at all, so of two callers
// exactly one decides and the other one learns what.
func Decide(dir, id string, d Decision) (Decision, error) {
	if strings.ContainsAny(id, "/\x00") || id == "" {
		return "", fmt.Errorf("%q is no id of a try", id)
	}
	path := filepath.Join(dir, "decision-"+id)
	err := durable.CreateExclusive(path, []byte(d+"\n"), 0o600)
	if err == nil {
		return d, nil
	}
	if !os.IsExist(err) {
		return "", fmt.Errorf("decide %s: %w", id, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("decide %s: %w", id, err)
	}
	switch got := Decision(strings.TrimSpace(string(raw))); got {
	case Confirm, Revert:
		return got, nil
	default:
		return "", fmt.Errorf("decide %s: %s holds %.20q", id, path, got)
	}
}
