package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"pullnode/internal/registry"
)

// Load reads and validates a settings file. The error names the file, and of
// validation every mistake, one a line.
func Load(path string) (*Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads settings and fills in the defaults.
func Parse(raw []byte) (*Config, error) {
	c := &Config{}
	if err := registry.Strict(raw, c); err != nil {
		return nil, where(raw, err)
	}
	c.defaults()
	return c, errors.Join(c.problems()...)
}

// where adds the line at which the text stops to be JSON.
func where(raw []byte, err error) error {
	at, text := len(raw), "the file ends in the middle of a value"
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at, text = int(syntax.Offset), syntax.Error()
	} else if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	line := 1 + bytes.Count(bytes.TrimRight(raw[:min(at, len(raw))], "\n"), []byte("\n"))
	return fmt.Errorf("line %d: no JSON: %s", line, text)
}
