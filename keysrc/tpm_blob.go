package keysrc

import (
	"context"
	"crypto/ecdh"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"pullnode/internal/registry"
)

const (
	tpmBlobVersion = 1
	tpmSealed      = "sealed" // an identity file
	tpmP256        = "p256"   // a key that the TPM made

	// deviceTimeout is for one use of a key in a device, which takes well under
	// a second.
	deviceTimeout = time.Minute
)

// tpmBlob is what a TPM gave to be stored outside it, as a JSON object. Nothing
// in it is secret.
type tpmBlob struct {
	Version    int      `json:"pullnodeTPM"`
	Kind       string   `json:"kind"`
	Recipients []string `json:"recipients"` // public halves of the identities within
	PCRs       []int    `json:"pcrs"`
	SRK        []byte   `json:"srk"` // name of the storage root key, which tells TPMs apart
	Public     []byte   `json:"public"`
	Private    []byte   `json:"private"`        // encrypted by the TPM
	Data       []byte   `json:"data,omitempty"` // identity file, encrypted with the key that the TPM sealed
}

func (b *tpmBlob) encode() ([]byte, error) {
	out, err := json.MarshalIndent(b, "", "  ")
	return append(out, '\n'), err
}

// bound is what the encryption of Data also authenticates.
func (b *tpmBlob) bound() ([]byte, error) {
	rest := *b
	rest.Data = nil
	return json.Marshal(rest)
}

// parseTPMBlob reads a blob. Errors wrap ErrCorrupt.
func parseTPMBlob(raw []byte) (*tpmBlob, error) {
	var b tpmBlob
	if err := registry.Strict(raw, &b); err != nil {
		return nil, fmt.Errorf("%w: is not a key that was put into a TPM: %w", ErrCorrupt, err)
	}
	if b.Version != tpmBlobVersion {
		return nil, fmt.Errorf("%w: is a TPM blob of version %d, want %d", ErrCorrupt, b.Version, tpmBlobVersion)
	}
	if b.Kind != tpmSealed && b.Kind != tpmP256 || len(b.Recipients) == 0 || len(b.Recipients) > maxIDs || len(b.SRK) == 0 {
		return nil, fmt.Errorf("%w: is a TPM blob with parts missing", ErrCorrupt)
	}
	if _, err := (TPM{PCRs: b.PCRs}).checked(); err != nil || b.PCRs == nil {
		return nil, fmt.Errorf("%w: is a TPM blob with impossible PCRs", ErrCorrupt)
	}
	return &b, nil
}

// publicKey gives the public half of a blob of the kind p256.
func (b *tpmBlob) publicKey() (*ecdh.PublicKey, error) {
	pub, _, err := b.object()
	if err != nil {
		return nil, err
	}
	area, err := pub.Contents()
	if err != nil {
		return nil, fmt.Errorf("%w: public area: %w", ErrCorrupt, err)
	}
	params, err := area.Parameters.ECCDetail()
	if err != nil {
		return nil, fmt.Errorf("%w: public area: %w", ErrCorrupt, err)
	}
	point, err := area.Unique.ECC()
	if err != nil {
		return nil, fmt.Errorf("%w: public area: %w", ErrCorrupt, err)
	}
	key, err := tpm2.ECDHPub(params, point)
	if err != nil || key.Curve() != ecdh.P256() {
		return nil, fmt.Errorf("%w: public area is not of a P-256 key", ErrCorrupt)
	}
	return key, nil
}

// object gives the two halves as the TPM takes them.
func (b *tpmBlob) object() (tpm2.TPM2BPublic, tpm2.TPM2BPrivate, error) {
	pub, err := tpm2.Unmarshal[tpm2.TPM2BPublic](b.Public)
	if err != nil {
		return tpm2.TPM2BPublic{}, tpm2.TPM2BPrivate{}, fmt.Errorf("%w: public area: %w", ErrCorrupt, err)
	}
	priv, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](b.Private)
	if err != nil {
		return tpm2.TPM2BPublic{}, tpm2.TPM2BPrivate{}, fmt.Errorf("%w: private area: %w", ErrCorrupt, err)
	}
	return *pub, *priv, nil
}

// open gives the key within. Of a key that stays in the TPM it proves that it
// can be used now; it is used through the TPM each time.
func (b *tpmBlob) open(ctx context.Context, device string) (*Key, error) {
	if b.Kind == tpmSealed {
		return withTPM(ctx, device, func(c *chip) (*Key, error) { return c.unseal(b) })
	}
	public, err := b.publicKey()
	if err != nil {
		return nil, err
	}
	id := &p256Identity{public: public, exchange: func(remote *ecdh.PublicKey) ([]byte, error) {
		return withTPM(context.Background(), device, func(c *chip) ([]byte, error) { return c.exchange(b, remote) })
	}}
	k, err := deviceKey(id)
	if err != nil {
		return nil, err
	}
	if k.Recipient() != b.Recipients[0] || len(b.Recipients) != 1 {
		return nil, fmt.Errorf("%w: names another recipient than that of its key", ErrCorrupt)
	}
	_, err = withTPM(ctx, device, func(c *chip) (struct{}, error) { return struct{}{}, c.prove(b, public) })
	if err != nil {
		return nil, err
	}
	return k, nil
}
