package state

import "encoding/json"

// Later gives the settings of an imagined next release, for tests of what an
// older program does with its files: its schema keeps everything but the attempt
// one level deeper, so that the present one cannot be read out of it by accident.
func Later(c Config) Config {
	type deeper struct {
		Attempt *Attempt        `json:"attempt,omitempty"`
		Later   json.RawMessage `json:"later"`
	}
	c.codecs = codecs{Schema: builtin[Schema], Schema + 1: {
		encode: func(v any) (json.RawMessage, error) {
			raw, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			d := deeper{Later: raw}
			if s, ok := v.(State); ok {
				d.Attempt = s.Attempt
			}
			return json.Marshal(d)
		},
		decode: func(raw json.RawMessage, v any) error {
			var d deeper
			if err := json.Unmarshal(raw, &d); err != nil {
				return err
			}
			return json.Unmarshal(d.Later, v)
		},
	}}
	return c
}
