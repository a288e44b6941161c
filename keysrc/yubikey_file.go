package keysrc

import (
	"context"
	"fmt"
)

// yubiKeyFile is an identity file that is encrypted for the key on a YubiKey:
// the identity can be of any kind, several, and handed over as a file.
type yubiKeyFile struct {
	card *yubiKey
	path string
}

// Name is Source's.
func (f yubiKeyFile) Name() string { return f.card.Name() + ":" + f.path }

// Fetch is Source's. File and card must both be there.
func (f yubiKeyFile) Fetch(ctx context.Context) (*Key, error) {
	raw, err := readPrivate(ctx, f.path, 0o022)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	k, err := f.card.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	return unlock{fmt.Sprintf("slot %x of YubiKey %d", f.card.slot, f.card.serial), fetched{f.card, k}}.key(ctx, raw)
}

// fetched is a source whose key is there already.
type fetched struct {
	Source
	k *Key
}

// Fetch is Source's.
func (f fetched) Fetch(context.Context) (*Key, error) { return f.k, nil }
