package keysrc

import (
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"
)

// auditLimit is the size in bytes at which the audit file is put aside as
// FILE.1, which replaces the one before.
const auditLimit = 8 << 20

// Audit is a file with one JSON line for each use of the key.
type Audit struct {
	Path string // its directory must exist and be root's alone

	mu sync.Mutex
}

// Event is one line of the audit.
type Event struct {
	Time      time.Time `json:"time"`
	Event     string    `json:"event"` // acquire, alarm, unwrap, await, preflight or refuse; of a key server release, deny or fail
	Source    string    `json:"source,omitempty"`
	Recipient string    `json:"recipient,omitempty"`
	PID       int       `json:"pid,omitempty"` // of who asked
	UID       int       `json:"uid"`
	Program   string    `json:"program,omitempty"` // as the kernel names it; root can choose the name
	Host      string    `json:"host,omitempty"`    // a key server's client, by its certificate
	From      string    `json:"from,omitempty"`    // its address and port
	Files     int       `json:"files,omitempty"`   // of a preflight
	Error     string    `json:"error,omitempty"`
}

// write appends one line. A nil Audit writes nothing.
func (a *Audit) write(e Event) error {
	if a == nil {
		return nil
	}
	e.Time = time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if st, err := os.Lstat(a.Path); err == nil && st.Size() >= auditLimit {
		if err := os.Rename(a.Path, a.Path+".1"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(a.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
