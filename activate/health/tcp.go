package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"pullnode/internal/registry"
)

func init() {
	registry.Add(&Kinds, "tcp", func(s tcpSettings) (Maker, error) {
		host, port, err := net.SplitHostPort(s.Address)
		if err != nil || host == "" || port == "" {
			return Maker{}, fmt.Errorf("address: want host:port, got %q", s.Address)
		}
		if len(s.Banner) > 1024 {
			return Maker{}, errors.New("banner: over 1024 bytes")
		}
		return Maker{Network: true, Make: func(Spec, Seams) (Check, error) { return tcp(s), nil }}, nil
	})
}

type tcpSettings struct {
	Address string `json:"address"`
	Banner  string `json:"banner"` // what the server says first
}

type tcp tcpSettings

// Run connects and, with a banner, reads exactly as many bytes as it has.
func (c tcp) Run(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.Banner == "" {
		return nil
	}
	// Reads know no context; closing the connection ends them.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	got := make([]byte, len(c.Banner))
	n, err := io.ReadFull(conn, got)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("read from %s: %w", c.Address, ctx.Err())
	case string(got[:n]) != c.Banner[:n], err == nil && string(got) != c.Banner:
		return fmt.Errorf("%s says %q, want %q", c.Address, got[:n], c.Banner)
	case err != nil:
		return fmt.Errorf("read from %s: %w", c.Address, err)
	}
	return nil
}
