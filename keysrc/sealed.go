package keysrc

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// errCut says that a sealed identity ends early, is damaged or too long.
var errCut = fmt.Errorf("is damaged or over %d bytes", keyLimit)

// openSealed opens an identity file that is encrypted with age. age's reader keeps
// what it decrypts in a buffer of its own, so it works under erasing; in must be in
// memory, so that nothing waits there.
func openSealed(in io.Reader, ids ...age.Identity) (k *Key, err error) {
	erasing(func() {
		var out io.Reader
		if out, err = age.Decrypt(in, ids...); err != nil {
			return
		}
		plain, readErr := readSecret(out)
		defer clear(plain)
		if readErr != nil {
			err = fmt.Errorf("%w (%v)", errCut, readErr)
			return
		}
		k, err = ParseKey(plain)
	})
	tidy()
	return k, err
}

// sealFor encrypts what write writes, an identity file, with age.
func sealFor(write func(io.Writer) error, to ...age.Recipient) (sealed []byte, err error) {
	erasing(func() {
		var out bytes.Buffer
		var w io.WriteCloser
		if w, err = age.Encrypt(&out, to...); err != nil {
			return
		}
		err = errors.Join(write(w), w.Close())
		sealed = out.Bytes()
	})
	tidy()
	if err != nil {
		return nil, err
	}
	return bytes.Clone(sealed), nil
}

// readSecret reads an identity file of at most keyLimit bytes into one place: a
// buffer that grows leaves copies behind. The caller clears it, also with an error.
func readSecret(r io.Reader) ([]byte, error) {
	b := make([]byte, keyLimit+1)
	n, err := io.ReadFull(r, b)
	switch {
	case err == nil:
		return b, fmt.Errorf("is over %d bytes", keyLimit)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return b[:n], nil
	}
	return b[:n], err
}
