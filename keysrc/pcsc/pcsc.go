// Package pcsc talks to pcscd, the daemon that owns smart card readers, over its
// socket, without libpcsclite and so without C. It knows what one program needs
// to use one card: list the readers, take a card for itself, exchange APDUs.
//
// The protocol is that of pcsc-lite 1.8.24 and later (version 4:4, which newer
// daemons take too). It promises that a card is given back reset, so that a PIN
// that was shown to it counts for nobody else. It knows nothing about what is on
// a card.
package pcsc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// DefaultSocket is where pcscd listens.
const DefaultSocket = "/run/pcscd/pcscd.comm"

// The commands, and sizes of the daemon's tables (winscard_msg.h).
const (
	cmdEstablish  = 0x01
	cmdConnect    = 0x04
	cmdReconnect  = 0x05
	cmdDisconnect = 0x06
	cmdBegin      = 0x07
	cmdTransmit   = 0x09
	cmdVersion    = 0x11
	cmdReaders    = 0x12

	nameSize    = 128
	maxReaders  = 16
	readerSize  = 184
	maxResponse = 264 // of a short APDU: 256 bytes, the status, and some room

	protocolMajor, protocolMinor = 4, 4

	scopeSystem = 2
	shareShared = 2
	protocolAny = 3 // T=0 or T=1
	leaveCard   = 0
	resetCard   = 1
	statePower  = 0x0004 // a card is in the reader
	retryEvery  = 20 * time.Millisecond
)

// The daemon is on the same machine and writes structs as they lie in memory.
var order = binary.NativeEndian

// Client is a connection to the daemon. It is for one goroutine.
type Client struct {
	conn    net.Conn
	done    func() bool
	ctx     context.Context
	session uint32
}

// Dial connects to the daemon's socket; ctx ends every later call too. When
// nobody listens, the error is the system's (ENOENT, ECONNREFUSED).
func Dial(ctx context.Context, socket string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, ctx: ctx}
	c.done = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	r, err := c.call(cmdVersion, words(protocolMajor, protocolMinor, 0), nil, 12)
	if err == nil {
		r, err = c.call(cmdEstablish, words(scopeSystem, 0, 0), nil, 12)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("greet pcscd: %w", err)
	}
	c.session = order.Uint32(r[4:])
	return c, nil
}

// Close ends the connection; the daemon then gives back what is still taken.
func (c *Client) Close() error {
	c.done()
	return c.conn.Close()
}

// call sends a command and reads an answer of n bytes, whose last word is the
// daemon's status.
func (c *Client) call(cmd uint32, body, more []byte, n int) ([]byte, error) {
	r, err := c.exchange(cmd, body, more, n)
	if err != nil {
		return nil, err
	}
	if code := order.Uint32(r[n-4:]); code != 0 {
		return nil, Error(code)
	}
	return r, nil
}

func (c *Client) exchange(cmd uint32, body, more []byte, n int) ([]byte, error) {
	msg := append(append(words(uint32(len(body)), cmd), body...), more...)
	defer clear(msg) // a PIN may be in it
	if _, err := c.conn.Write(msg); err != nil {
		return nil, c.why(err)
	}
	r := make([]byte, n)
	if _, err := io.ReadFull(c.conn, r); err != nil {
		return nil, c.why(err)
	}
	return r, nil
}

// why prefers the context's reason over the deadline that it caused.
func (c *Client) why(err error) error {
	if ctxErr := c.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("pcscd closed the connection; its log may say why")
	}
	return err
}

func words(v ...uint32) []byte {
	var b []byte
	for _, x := range v {
		b = order.AppendUint32(b, x)
	}
	return b
}

// Readers gives the names of the readers that have a card in them.
func (c *Client) Readers() (withCard []string, err error) {
	r, err := c.exchange(cmdReaders, nil, nil, maxReaders*readerSize)
	if err != nil {
		return nil, fmt.Errorf("list the readers: %w", err)
	}
	for ; len(r) > 0; r = r[readerSize:] {
		name, _, _ := bytes.Cut(r[:nameSize], []byte{0})
		if len(name) > 0 && order.Uint32(r[nameSize+4:])&statePower != 0 {
			withCard = append(withCard, string(name))
		}
	}
	return withCard, nil
}

// Card is a card that this process has for itself.
type Card struct {
	c        *Client
	handle   uint32
	protocol uint32
}

// Connect takes the card in a reader. While another program has it, Connect
// waits until ctx is done; a program that keeps it is ErrInUse at once.
func (c *Client) Connect(reader string) (*Card, error) {
	if len(reader) >= nameSize {
		return nil, fmt.Errorf("reader %q: name is too long", reader)
	}
	name := make([]byte, nameSize)
	copy(name, reader)
	body := append(append(words(c.session), name...), words(shareShared, protocolAny, 0, 0, 0)...)
	r, err := c.call(cmdConnect, body, nil, len(body))
	if err != nil {
		return nil, fmt.Errorf("connect to the card in %q: %w", reader, err)
	}
	card := &Card{c: c, handle: order.Uint32(r[4+nameSize+8:]), protocol: order.Uint32(r[4+nameSize+12:])}
	for {
		_, err = c.call(cmdBegin, words(card.handle, 0), nil, 8)
		if errors.Is(err, ErrReset) { // by the program that had it before us
			if err = card.reconnect(leaveCard); err == nil {
				continue
			}
		}
		if !errors.Is(err, ErrInUse) {
			break
		}
		select {
		case <-c.ctx.Done():
			return nil, fmt.Errorf("wait for another program's use of the card in %q: %w", reader, c.ctx.Err())
		case <-time.After(retryEvery):
		}
	}
	if err != nil {
		return nil, fmt.Errorf("take the card in %q: %w", reader, err)
	}
	return card, nil
}

// Reset makes the card forget everything that is not stored on it.
func (k *Card) Reset() error {
	if err := k.reconnect(resetCard); err != nil {
		return fmt.Errorf("reset the card: %w", err)
	}
	return nil
}

func (k *Card) reconnect(first uint32) error {
	r, err := k.c.call(cmdReconnect, words(k.handle, shareShared, protocolAny, first, 0, 0), nil, 24)
	if err == nil {
		k.protocol = order.Uint32(r[16:])
	}
	return err
}

// Close resets the card, which makes it forget the PIN, and gives it back.
func (k *Card) Close() error {
	_, err := k.c.call(cmdDisconnect, words(k.handle, resetCard, 0), nil, 12)
	return err
}

// Transmit sends one APDU and gives the answer's data and status word.
func (k *Card) Transmit(apdu []byte) (data []byte, status uint16, err error) {
	const header = 8 // size of the PCI that names the protocol
	r, err := k.c.call(cmdTransmit, words(k.handle, k.protocol, header, uint32(len(apdu)), k.protocol, header, maxResponse, 0), apdu, 32)
	if err != nil {
		return nil, 0, err
	}
	n := order.Uint32(r[24:])
	if n < 2 || n > maxResponse {
		return nil, 0, fmt.Errorf("answer of %d bytes, want 2 to %d", n, maxResponse)
	}
	data = make([]byte, n)
	if _, err := io.ReadFull(k.c.conn, data); err != nil {
		return nil, 0, k.c.why(err)
	}
	return data[:n-2], binary.BigEndian.Uint16(data[n-2:]), nil
}
