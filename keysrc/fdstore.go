package keysrc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FDStore is systemd's store for descriptors of this service
// (FileDescriptorStoreMax=, sd_notify(3)): what is in it survives a restart or
// crash of the process and not a stop. Only memory of memfd_secret goes there:
// other memory could be swapped while no process has it locked.
type FDStore struct{}

const fdName = "identity"

// notifyFD sends a message to systemd, with a descriptor unless fd is negative.
func notifyFD(text string, fd int) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return errors.New("systemd passed no notification socket")
	}
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	// A name that begins with @ is abstract, for x/sys as for systemd.
	return unix.Sendmsg(sock, []byte(text), oob, &unix.SockaddrUnix{Name: path}, 0)
}

func (s *FDStore) keep(k *Key) error {
	if err := s.forget(); err != nil { // the store has room for one
		return err
	}
	m := k.held().text
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 {
		return errWiped
	}
	return notifyFD("FDSTORE=1\nFDNAME="+fdName, m.fd)
}

func (s *FDStore) forget() error { return notifyFD("FDSTOREREMOVE=1\nFDNAME="+fdName, -1) }

// Restore gives the key that the process had before it was restarted, or nil
// when there was none. A recipient pins its public half as in a Chain.
func (s *FDStore) Restore(recipient string) (*Key, error) {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil
	}
	i := slices.Index(strings.Split(os.Getenv("LISTEN_FDNAMES"), ":"), fdName)
	if i < 0 {
		return nil, nil
	}
	fd := 3 + i
	unix.CloseOnExec(fd)
	k, err := restoreKey(fd)
	if err == nil && recipient != "" && !slices.Contains(k.Recipients(), recipient) {
		k.Wipe()
		err = fmt.Errorf("%w: the settings pin another", ErrWrongKey)
	}
	if err != nil {
		return nil, fmt.Errorf("key from before the restart: %w", errors.Join(err, s.forget()))
	}
	return k, nil
}

func restoreKey(fd int) (*Key, error) {
	m, err := mapSecret(fd)
	if err != nil {
		return nil, err
	}
	text, from, err := m.get()
	if err != nil {
		m.free()
		return nil, err
	}
	recipients, err := publicHalves(text)
	if err != nil {
		m.free()
		return nil, err
	}
	return newKey(&keyring{text: m, recipients: recipients, from: from}), nil
}
