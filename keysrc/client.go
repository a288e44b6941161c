package keysrc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"filippo.io/age"
)

// batchLimit keeps a preflight message well below frameLimit.
const batchLimit = frameLimit / 2

// Client asks the agent behind a unix socket. Its errors wrap ErrAbsent,
// ErrWrongKey, ErrDenied and age.ErrIncorrectIdentity as the agent's did, and
// os.ErrNotExist or a connection error when nobody listens.
type Client struct {
	Path string // of the socket
}

// Preflight asks whether the host's key opens these files. It also gives the
// public halves of that key. The results are in the order of files.
func (c Client) Preflight(ctx context.Context, files []Meta) (results []Result, recipients []string, err error) {
	// At least one round, as it is also the question whether there is a key.
	for first := true; first || len(files) > 0; first = false {
		n, size := 0, 0
		for n < len(files) {
			raw, err := json.Marshal(files[n])
			if err != nil {
				return nil, nil, err
			}
			if size += len(raw); n > 0 && size > batchLimit {
				break
			}
			n++
		}
		resp, err := c.ask(ctx, request{Verb: verbPreflight, Files: files[:n]})
		if err != nil {
			return nil, nil, err
		}
		if len(resp.Results) != n {
			return nil, nil, fmt.Errorf("key agent answered for %d of %d files", len(resp.Results), n)
		}
		results, recipients = append(results, resp.Results...), resp.Recipients
		files = files[n:]
	}
	return results, recipients, nil
}

// Unwrap gives the file key of an age file from its header's stanzas.
func (c Client) Unwrap(ctx context.Context, stanzas []*age.Stanza) ([]byte, error) {
	req := request{Verb: verbUnwrap, Stanzas: make([]stanza, len(stanzas))}
	for i, s := range stanzas {
		req.Stanzas[i] = stanza{s.Type, s.Args, s.Body}
	}
	resp, err := c.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(resp.FileKey) != fileKeySize {
		return nil, fmt.Errorf("key agent gave a file key of %d bytes, want %d", len(resp.FileKey), fileKeySize)
	}
	return resp.FileKey, nil
}

// Await asks whether the key is there, as a program does that needs it: if it is
// not, the agent looks for it from then on.
func (c Client) Await(ctx context.Context) error {
	_, err := c.ask(ctx, request{Verb: verbAwait})
	return err
}

// Holding says what the agent holds, without making it look for the key.
func (c Client) Holding(ctx context.Context) (Holding, error) {
	resp, err := c.ask(ctx, request{Verb: verbState})
	if err != nil {
		return Holding{}, err
	}
	if resp.State == nil {
		return Holding{}, errors.New("key agent gave no state")
	}
	return *resp.State, nil
}

// Identity gives the agent's key as an identity for age.Decrypt, bounded by ctx.
func (c Client) Identity(ctx context.Context) age.Identity { return remoteIdentity{c, ctx} }

// remoteIdentity keeps a context because age.Identity has no place for one.
type remoteIdentity struct {
	c   Client
	ctx context.Context
}

// Unwrap is age.Identity's.
func (r remoteIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	return r.c.Unwrap(r.ctx, stanzas)
}

func (c Client) ask(ctx context.Context, req request) (resp response, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return resp, fmt.Errorf("key agent: %w", os.ErrNotExist)
		}
		return resp, fmt.Errorf("key agent: %w", err)
	}
	defer conn.Close()
	// Getting a key may take the source's time, so only ctx bounds it.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	werr := writeFrame(conn, req)
	// An agent that refuses does so before it has read the request, so its
	// answer counts also when writing failed.
	if err := readFrame(conn, &resp); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		} else if werr != nil {
			err = werr
		}
		return response{}, fmt.Errorf("key agent: %w", err)
	}
	if err := resp.err(); err != nil {
		return response{}, fmt.Errorf("key agent: %w", err)
	}
	return resp, nil
}
