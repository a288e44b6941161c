package keysrc

import (
	"bytes"
	"encoding/json"
)

// readJSON finds the "sops" object of a JSON or binary SOPS file.
func readJSON(content []byte) (map[string]any, error) {
	content = bytes.TrimSpace(content)
	if !bytes.HasPrefix(content, []byte("{")) {
		return nil, ErrNotSOPS
	}
	var file struct {
		SOPS json.RawMessage `json:"sops"`
	}
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, ErrNotSOPS
	}
	var tree map[string]any
	d := json.NewDecoder(bytes.NewReader(file.SOPS))
	d.UseNumber()
	if file.SOPS == nil || d.Decode(&tree) != nil {
		return nil, ErrNotSOPS
	}
	return tree, nil
}
