package keysrc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory is the kind of memory that a key's text is held in.
type Memory string

// The kinds of memory, the better one first. None is part of a core dump.
const (
	MemfdSecret Memory = "memfd_secret" // not even the kernel maps it; outlives the process in systemd's fd store
	Mlock       Memory = "mlock"        // never swapped; root can read it through /proc
	// Ordinary is what a container has that may not lock memory: only the unit's
	// MemorySwapMax=0 keeps it from being swapped.
	Ordinary Memory = "ordinary"
)

// memorySize fits an identity file of keyLimit and the name of its source.
const memorySize = keyLimit + 4096

// locked is memory that is never swapped, where that can be had. The text of a key lies in it behind
// its length, followed by the name of the source behind its length.
type locked struct {
	mu   sync.Mutex
	all  []byte // nil when freed
	fd   int    // -1 with mlock
	kind Memory
}

// newLocked copies text and from into locked memory: memfd_secret(2) where the
// kernel has it and the machine is not set up to hibernate, which it would
// prevent, else mlock(2), else memory that may not be locked; its kind says
// which.
func newLocked(text []byte, from string) (*locked, error) {
	if len(text) > keyLimit || len(from) > 4000 {
		return nil, fmt.Errorf("identity file is over %d bytes", keyLimit)
	}
	m, err := secretMemory()
	if err != nil {
		if m, err = plainMemory(); err != nil {
			return nil, err
		}
	}
	m.put(text, from)
	return m, nil
}

func secretMemory() (*locked, error) {
	if hibernates() {
		return nil, errors.New("this machine is set up to hibernate")
	}
	fd, err := unix.MemfdSecret(0)
	if err != nil {
		return nil, fmt.Errorf("memfd_secret: %w", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.Ftruncate(fd, memorySize); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("memfd_secret: %w", err)
	}
	return mapSecret(fd)
}

// mapSecret maps the memory behind fd and owns fd from then on.
func mapSecret(fd int) (*locked, error) {
	all, err := unix.Mmap(fd, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("map memfd_secret: %w", err)
	}
	return &locked{all: all, fd: fd, kind: MemfdSecret}, nil
}

// plainMemory is locked if the kernel lets this process do that.
func plainMemory() (*locked, error) {
	all, err := unix.Mmap(-1, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	err = unix.Madvise(all, unix.MADV_DONTDUMP)
	if err == nil {
		err = unix.Madvise(all, unix.MADV_WIPEONFORK)
	}
	if err != nil {
		unix.Munmap(all)
		return nil, fmt.Errorf("madvise: %w", err)
	}
	kind := Mlock
	if unix.Mlock(all) != nil {
		kind = Ordinary
	}
	return &locked{all: all, fd: -1, kind: kind}, nil
}

// hibernates tells whether a place to hibernate to is set up: memory would be
// written to it, and a memfd_secret in use makes the kernel refuse.
func hibernates() bool {
	dev, err := os.ReadFile("/sys/power/resume")
	return err == nil && strings.TrimSpace(string(dev)) != "0:0"
}

func (m *locked) put(text []byte, from string) {
	b := m.all
	binary.BigEndian.PutUint32(b, uint32(len(text)))
	copy(b[4:], text)
	b = b[4+len(text):]
	binary.BigEndian.PutUint32(b, uint32(len(from)))
	copy(b[4:], from)
}

// get gives the text, in place, and the source. It is for holders of mu or of
// the only reference.
func (m *locked) get() (text []byte, from string, err error) {
	b := m.all
	if b == nil {
		return nil, "", errWiped
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > keyLimit {
		return nil, "", errors.New("the memory from before the restart holds no key")
	}
	text, b = b[4:4+n:4+n], b[4+n:]
	if n = binary.BigEndian.Uint32(b); int(n) > len(b)-4 {
		return nil, "", errors.New("the memory from before the restart holds no key")
	}
	return text, string(b[4 : 4+n]), nil
}

// use runs f with the text, which is not freed meanwhile.
func (m *locked) use(f func(text []byte) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, _, err := m.get()
	if err != nil {
		return err
	}
	return f(text)
}

// free overwrites the memory and gives it back; it may be called more than once.
func (m *locked) free() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		return
	}
	clear(m.all)
	unix.Munmap(m.all)
	if m.fd >= 0 {
		unix.Close(m.fd)
	}
	m.all, m.fd = nil, -1
}
