package state

import (
	"errors"
	"fmt"
)

// ErrLocked is what Open gives while another process holds the directory; the
// text names its process id.
var ErrLocked = errors.New("state is in use")

// ErrUnreadable is what Open and Update give when state was kept here and none
// of its files can be read. The node no longer knows what it trusted: it must
// not deploy until somebody says anew what to trust: Store.StartOver.
var ErrUnreadable = errors.New("no state file can be read")

// ErrNewerSchema is what Open and Update give when a newer agent has left a
// file that this one does not understand. Nothing is written then.
var ErrNewerSchema = errors.New("state was written by a newer pullnode")

// NewerSchemaError names the file behind ErrNewerSchema.
type NewerSchemaError struct {
	Path         string
	Found, Known int
}

// Error gives one line.
func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("%v: %s has schema %d, this one knows up to %d", ErrNewerSchema, e.Path, e.Found, e.Known)
}

// Is makes errors.Is(err, ErrNewerSchema) true.
func (e *NewerSchemaError) Is(target error) bool { return target == ErrNewerSchema }
