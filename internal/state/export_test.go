package state

import (
	"os"
	"pullnode/internal/durable"
)

// SetWrite puts a fault into every write of a state or floor file.
func (c *Config) SetWrite(w func(path string, data []byte, perm os.FileMode) error) { c.write = w }

// RealWrite is what SetWrite replaces.
var RealWrite = durable.WriteFile
