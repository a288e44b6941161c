package keysrctest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"pullnode/keysrc/pcsc"
)

// Readers is a pcscd of the test's own with two readers, which are Debian's
// vsmartcard-vpcd: a card in them is a TCP connection.
type Readers struct {
	Socket string // pcscd's
	cmd    *exec.Cmd
	log    bytes.Buffer
	ports  [2]int
	mu     sync.Mutex
	conns  [2]net.Conn
}

const vpcdDriver = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"

// StartReaders starts pcscd with empty readers; it ends with the test.
func StartReaders(t *testing.T) *Readers {
	t.Helper()
	if _, err := os.Stat(vpcdDriver); err != nil {
		t.Fatal("this test needs virtual readers: apt-get install vsmartcard-vpcd")
	}
	pcscd, err := exec.LookPath("/usr/sbin/pcscd")
	if err != nil {
		t.Fatal("this test needs pcscd: apt-get install pcscd")
	}
	dir, err := os.MkdirTemp("", "pcsc") // a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &Readers{Socket: filepath.Join(dir, "s")}
	// The driver takes a port and the one behind it.
	r.ports[0] = freePorts(t)
	r.ports[1] = r.ports[0] + 1
	conf := filepath.Join(dir, "conf")
	if err := os.Mkdir(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("FRIENDLYNAME \"Virtual\"\nDEVICENAME /dev/null:0x%04X\nLIBPATH %s\nCHANNELID 0x%04X\n", r.ports[0], vpcdDriver, r.ports[0])
	if err := os.WriteFile(filepath.Join(conf, "vpcd"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// As systemd starts it: on a socket that is passed, so that this machine's
	// own pcscd is not touched.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.Socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// It also writes into /run, which it gets one of its own for.
	r.cmd = exec.Command("/bin/sh", "-c", `mount -t tmpfs pcscd /run && LISTEN_PID=$$ exec "$0" --foreground --config "$1"`, pcscd, conf)
	r.cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
	r.cmd.ExtraFiles = []*os.File{f}
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: syscall.CLONE_NEWNS}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// Stop ends pcscd and leaves its socket behind, as a crash does.
func (r *Readers) Stop() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
	for _, c := range r.conns {
		if c != nil {
			c.Close()
		}
	}
}

// freePorts gives a port such that it and the next are free.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		a, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := a.Addr().(*net.TCPAddr).Port
		b, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		a.Close()
		if err == nil {
			b.Close()
			return port
		}
	}
	t.Fatal("no two free ports in a row")
	return 0
}

// Insert puts a card into a reader, 0 or 1, and waits until pcscd sees it.
func (r *Readers) Insert(t *testing.T, reader int, card *PIVCard) {
	t.Helper()
	before := r.count(t) // first: the driver stalls pcscd over a card that does not answer
	var conn net.Conn
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.ports[reader])); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the virtual reader does not come up: %v", err)
		}
	}
	r.mu.Lock()
	r.conns[reader] = conn
	r.mu.Unlock()
	go serveCard(conn, card)
	r.await(t, "sees the card", func(n int) bool { return n > before })
}

// Remove pulls the card out of a reader and waits until pcscd has noticed.
func (r *Readers) Remove(t *testing.T, reader int) {
	t.Helper()
	before := r.count(t)
	r.mu.Lock()
	r.conns[reader].Close()
	r.mu.Unlock()
	r.await(t, "notices that the card is gone", func(n int) bool { return n < before })
}

func (r *Readers) count(t *testing.T) int {
	t.Helper()
	c, err := pcsc.Dial(t.Context(), r.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names, err := c.Readers()
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func (r *Readers) await(t *testing.T, what string, done func(cards int) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(r.count(t)); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("pcscd never %s", what)
		}
	}
}

// serveCard speaks vpcd's protocol: a length of two bytes and an APDU, or one
// byte that is a control (0 off, 1 on, 2 reset, 4 tell the ATR).
func serveCard(conn net.Conn, card *PIVCard) {
	for {
		var n uint16
		if binary.Read(conn, binary.BigEndian, &n) != nil {
			return
		}
		msg := make([]byte, n)
		if _, err := io.ReadFull(conn, msg); err != nil {
			return
		}
		var answer []byte
		switch {
		case n == 1 && msg[0] == 4:
			answer = yubiKeyATR
		case n == 1:
			card.reset()
			continue
		default:
			answer = card.apdu(msg)
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}
