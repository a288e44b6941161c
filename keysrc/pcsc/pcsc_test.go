package pcsc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/keysrc/pcsc"
)

// daemon answers each command with the next of the answers, and then hangs. The
// real pcscd is in the tests of keysrc; this is for what a real one does not do.
func daemon(t *testing.T, answers ...[]byte) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		for _, a := range answers {
			var head [8]byte
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				return
			}
			size := int64(binary.NativeEndian.Uint32(head[:]))
			if binary.NativeEndian.Uint32(head[4:]) == 9 {
				size += apduSize
			}
			if _, err := io.CopyN(io.Discard, conn, size); err != nil {
				return
			}
			if a == nil {
				conn.Close()
				return
			}
			conn.Write(a)
		}
		io.Copy(io.Discard, conn)
	}()
	return socket
}

const apduSize = 4

func words(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.NativeEndian.AppendUint32(b, x)
	}
	return b
}

var greeting = [][]byte{words(4, 4, 0), words(2, 77, 0)}

func TestGreeting(t *testing.T) {
	for name, c := range map[string]struct {
		answers [][]byte
		want    string
	}{
		"closes":       {[][]byte{nil}, "pcscd closed the connection"},
		"half":         {[][]byte{{1, 2, 3}, nil}, "context deadline exceeded"},
		"too old":      {[][]byte{words(4, 2, 0x8010001e)}, "greet pcscd: pcscd has stopped"},
		"policy":       {[][]byte{words(4, 4, 0), words(2, 0, 0x8010006a)}, "does not let this user use cards"},
		"unknown code": {[][]byte{words(4, 4, 0x80100099)}, "pcscd says 0x80100099"},
		"hangs":        {nil, "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			c2, err := pcsc.Dial(ctx, daemon(t, c.answers...))
			if err == nil {
				c2.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

// connected gives a card of a daemon that then gives these answers.
func connected(t *testing.T, ctx context.Context, answers ...[]byte) *pcsc.Card {
	t.Helper()
	name := make([]byte, 128)
	connect := append(append(words(77), name...), words(2, 3, 5, 2, 0)...)
	all := append(append([][]byte{}, greeting...), connect, words(5, 0))
	c, err := pcsc.Dial(ctx, daemon(t, append(all, answers...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	card, err := c.Connect("r")
	if err != nil {
		t.Fatal(err)
	}
	return card
}

func TestTransmit(t *testing.T) {
	answer := func(n, status uint32, data ...byte) []byte {
		return append(words(5, 2, 8, apduSize, 2, 8, n, status), data...)
	}
	for name, c := range map[string]struct {
		answer []byte
		want   string
		absent bool
	}{
		"good":      {answer(3, 0, 7, 0x90, 0), "", false},
		"no status": {answer(1, 0, 7), "answer of 1 bytes", false},
		"too long":  {answer(1<<31, 0), "bytes, want 2 to 264", false},
		"cut":       {nil, "closed the connection", false},
		"removed":   {answer(0, 0x80100069), "the card was taken away", true},
		"no reader": {answer(0, 0x80100009), "no such reader", true},
		"silent":    {answer(0, 0x80100066), "does not answer", false},
	} {
		t.Run(name, func(t *testing.T) {
			data, status, err := connected(t, t.Context(), c.answer).Transmit(make([]byte, apduSize))
			if c.want == "" {
				if err != nil || status != 0x9000 || string(data) != "\x07" {
					t.Errorf("%x %04x %v", data, status, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || pcsc.Absent(err) != c.absent {
				t.Errorf("error is %v (absent: %v), want one with %q", err, pcsc.Absent(err), c.want)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	card := connected(t, ctx)
	done := make(chan error)
	go func() {
		_, _, err := card.Transmit(make([]byte, apduSize))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
