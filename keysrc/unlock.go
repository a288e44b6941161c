package keysrc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"pullnode/internal/registry"
)

// unlock opens what a medium holds when that is itself encrypted with age for
// something of this machine, so that the medium alone is worth nothing.
type unlock struct {
	name string
	with Source // gives the key that opens it; nil when the medium is not encrypted
}

// unlocks are the values of the setting "unlock"; one may be followed by ":" and
// the path of what it uses.
var unlocks = map[string]func(path string) (Source, error){
	"ssh-host-key": func(path string) (Source, error) { return openSSHHostKey(sshHostKeySettings{path}) },
}

func openUnlock(setting string) (unlock, error) {
	if setting == "" {
		return unlock{}, nil
	}
	name, path, _ := strings.Cut(setting, ":")
	open, ok := unlocks[name]
	if !ok {
		known := slices.Sorted(maps.Keys(unlocks))
		return unlock{}, fmt.Errorf("unlock: unknown way %q%s (one of %s)", name, registry.DidYouMean(name, known), strings.Join(known, ", "))
	}
	with, err := open(path)
	if err != nil {
		return unlock{}, fmt.Errorf("unlock: %w", err)
	}
	return unlock{name, with}, nil
}

const ageHeader = "age-encryption.org/v1\n"

// key reads what a medium holds. The caller clears raw.
func (u unlock) key(ctx context.Context, raw []byte) (*Key, error) {
	sealed := bytes.HasPrefix(raw, []byte(ageHeader)) || bytes.HasPrefix(bytes.TrimSpace(raw), []byte(armor.Header))
	switch {
	case u.with == nil && sealed:
		return nil, errors.New("is itself encrypted with age: set unlock to what opens it")
	case u.with == nil:
		return ParseKey(raw)
	case !sealed:
		return nil, fmt.Errorf("is not encrypted with age for %s: wrap it, and treat a key that lay there in plain text as leaked", u.name)
	}
	k, err := u.with.Fetch(ctx)
	if err != nil {
		if errors.Is(err, ErrAbsent) {
			// The medium is there; that this machine cannot open it is no
			// reason to pass it over.
			return nil, fmt.Errorf("unlock with %s: %s", u.with.Name(), err)
		}
		return nil, fmt.Errorf("unlock with %s: %w", u.with.Name(), err)
	}
	defer k.Wipe()
	var in io.Reader = bytes.NewReader(raw)
	if !bytes.HasPrefix(raw, []byte(ageHeader)) {
		in = armor.NewReader(in)
	}
	inside, err := openSealed(in, k.Identities()...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("is not encrypted for %s of this machine (%s)", u.name, short(k.Recipient()))
	}
	return inside, err
}
