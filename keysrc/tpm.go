package keysrc

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"pullnode/internal/registry"
)

func init() {
	registry.Add(&Kinds, "tpm", openTPM)
	// A blob that unlocks a medium may be bound to any PCRs.
	unlocks["tpm"] = func(path string) (Source, error) {
		s, err := openTPM(tpmSettings{Path: path})
		if err != nil {
			return nil, err
		}
		return tpm{TPM{Device: s.(tpm).Device}, s.(tpm).path}, nil
	}
}

// tpmSettings are those of the source "tpm".
type tpmSettings struct {
	// Path of the blob that TPM.Seal or TPM.NewKey made, absolute. It is no
	// secret, but nobody but its owner may write to it.
	Path string `json:"path"`
	// Device is the TPM's; empty is /dev/tpmrm0.
	Device string `json:"device"`
	// PCRs that the blob must be bound to; unset is [7], the firmware's Secure
	// Boot state. An empty list binds to the chip alone.
	PCRs []int `json:"pcrs"`
}

// tpm is a key that one TPM opens, as long as the machine booted as it did when
// the key was put there.
type tpm struct {
	TPM
	path string
}

func openTPM(s tpmSettings) (Source, error) {
	path, err := checkPath(s.Path)
	if err != nil {
		return nil, err
	}
	t, err := TPM{Device: s.Device, PCRs: s.PCRs}.checked()
	if err != nil {
		return nil, err
	}
	return tpm{t, path}, nil
}

// Name is Source's.
func (t tpm) Name() string { return "tpm:" + t.path }

// Fetch is Source's. Absent is no blob or no TPM; ErrDenied is a machine that
// booted otherwise or another TPM; ErrCorrupt is a blob that is damaged.
func (t tpm) Fetch(ctx context.Context) (*Key, error) {
	raw, err := readPrivate(ctx, t.path, 0o022)
	if err != nil {
		return nil, err
	}
	b, err := parseTPMBlob(raw)
	if err != nil {
		return nil, err
	}
	if t.PCRs != nil && !slices.Equal(b.PCRs, t.PCRs) {
		return nil, fmt.Errorf("is bound to PCRs %v, the settings say %v: seal the key anew, or change pcrs", b.PCRs, t.PCRs)
	}
	return b.open(ctx, t.Device)
}

// TPM says where a key is put. Its zero value is the kernel's TPM and PCR 7.
type TPM struct {
	// Device is a character device, or the socket of a software TPM; empty is
	// /dev/tpmrm0.
	Device string
	// PCRs of the SHA-256 bank that the key is bound to, as they are when it is
	// put there; nil is [7], empty is none.
	PCRs []int
}

// defaultTPM is the kernel's, with its resource manager; tests have another.
var defaultTPM = "/dev/tpmrm0"

// maxPCR is the last of the registers that every PC has.
const maxPCR = 23

func (t TPM) checked() (TPM, error) {
	if t.Device == "" {
		t.Device = defaultTPM
	}
	if !filepath.IsAbs(t.Device) {
		return TPM{}, fmt.Errorf("device: %q is not absolute", t.Device)
	}
	if t.PCRs == nil {
		t.PCRs = []int{7}
	}
	t.PCRs = slices.Sorted(slices.Values(t.PCRs))
	for i, p := range t.PCRs {
		switch {
		case p < 0 || p > maxPCR:
			return TPM{}, fmt.Errorf("pcrs: there is no PCR %d, want 0 to %d", p, maxPCR)
		case i > 0 && p == t.PCRs[i-1]:
			return TPM{}, fmt.Errorf("pcrs: PCR %d is there twice", p)
		}
	}
	if t.PCRs == nil {
		t.PCRs = []int{}
	}
	return t, nil
}

// Seal makes a blob that holds the identity file and that only this TPM opens,
// while the PCRs are what they are now. The blob is no secret. It was opened
// again before it is given. Errors wrap ErrAbsent when there is no TPM.
func (t TPM) Seal(ctx context.Context, identity []byte) (blob []byte, err error) {
	t, err = t.checked()
	if err != nil {
		return nil, err
	}
	recipients, err := publicHalves(identity)
	if err != nil {
		return nil, err
	}
	return withTPM(ctx, t.Device, func(chip *chip) ([]byte, error) {
		b := tpmBlob{Version: tpmBlobVersion, Kind: tpmSealed, Recipients: recipients, PCRs: t.PCRs, SRK: chip.srkName()}
		if err := chip.seal(&b, identity); err != nil {
			return nil, err
		}
		k, err := chip.unseal(&b)
		if err != nil {
			return nil, fmt.Errorf("open what was just sealed: %w", err)
		}
		k.Wipe()
		return b.encode()
	})
}

// NewKey has the TPM make a P-256 key that never leaves it, bound as by Seal,
// and gives the blob that the source "tpm" takes and the recipient to encrypt
// for ("age1tag1...").
func (t TPM) NewKey(ctx context.Context) (blob []byte, recipient string, err error) {
	t, err = t.checked()
	if err != nil {
		return nil, "", err
	}
	blob, err = withTPM(ctx, t.Device, func(chip *chip) ([]byte, error) {
		b := tpmBlob{Version: tpmBlobVersion, Kind: tpmP256, PCRs: t.PCRs, SRK: chip.srkName()}
		if err := chip.newKey(&b); err != nil {
			return nil, err
		}
		public, err := b.publicKey()
		if err != nil {
			return nil, err
		}
		r, err := p256Recipient(public)
		if err != nil {
			return nil, err
		}
		b.Recipients = []string{r.String()}
		recipient = r.String()
		if err := chip.prove(&b, public); err != nil {
			return nil, fmt.Errorf("use the key that was just made: %w", err)
		}
		return b.encode()
	})
	if err != nil {
		return nil, "", err
	}
	return blob, recipient, nil
}

// errTPMLies is for a TPM, or something between it and us, that computes wrong.
var errTPMLies = errors.New("the TPM's key does not fit its public half")
