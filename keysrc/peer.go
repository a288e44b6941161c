package keysrc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peer is who connected, by the kernel's word at that time.
type peer struct{ pid, uid int }

// peerOf asks the kernel (SO_PEERCRED, unix(7)).
func peerOf(conn net.Conn) (peer, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return peer{}, errors.New("the connection is not over a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return peer{}, err
	}
	if credErr != nil {
		return peer{}, credErr
	}
	return peer{int(cred.Pid), int(cred.Uid)}, nil
}

// program is what the kernel calls the peer now; it may have ended.
func (p peer) program() string {
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/comm")
	if err != nil {
		return ""
	}
	return clip(strings.TrimSpace(string(comm)))
}

func (p peer) allowed(ownUser bool) error {
	if p.uid == 0 || ownUser && p.uid == os.Geteuid() {
		return nil
	}
	return fmt.Errorf("%w: user %d may not use this host's key, only root may", ErrDenied, p.uid)
}

// Listen makes the agent's socket at path with mode 0600, removing one that is
// left over from before. It is for running without systemd: with it, the socket
// is systemd's and comes by ActivatedListener.
func Listen(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// The agent asks the kernel who connects, so the moment before this harms
	// nothing.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// ActivatedListener gives the one socket that systemd passed to this process
// (sd_listen_fds(3)), or nil when it passed none.
func ActivatedListener() (net.Listener, error) {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil
	}
	// Other descriptors, such as one from the fd store, come after the socket.
	if n, err := strconv.Atoi(os.Getenv("LISTEN_FDS")); err != nil || n < 1 {
		return nil, nil
	}
	const first = 3
	unix.CloseOnExec(first)
	f := os.NewFile(first, "LISTEN_FD_3")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("socket from systemd: %w", err)
	}
	return l, nil
}
