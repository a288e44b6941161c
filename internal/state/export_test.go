package state

import (
	"encoding/json"
	"os"
	"pullnode/internal/durable"
)

// SetWrite puts a fault into every write of a state or floor file.
func (c *Config) SetWrite(w func(path string, data []byte, perm os.FileMode) error) { c.write = w }

// RealWrite is what SetWrite replaces.
var RealWrite = durable.WriteFile

// SetNewerSchema makes this the agent of the next release: schema 2 keeps the
// body one level deeper, so schema 1 cannot read it by accident.
func (c *Config) SetNewerSchema() {
	type deeper struct {
		V2 json.RawMessage `json:"v2"`
	}
	c.codecs = codecs{1: builtin[1], 2: {
		encode: func(v any) (json.RawMessage, error) {
			raw, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			return json.Marshal(deeper{raw})
		},
		decode: func(raw json.RawMessage, v any) error {
			var d deeper
			if err := json.Unmarshal(raw, &d); err != nil {
				return err
			}
			return json.Unmarshal(d.V2, v)
		},
	}}
}
