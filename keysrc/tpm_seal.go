package keysrc

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/chacha20poly1305"
)

// policy gives the digest of "the PCRs are as they are now".
func (c *chip) policy(pcrs []int) ([]byte, error) {
	for _, p := range pcrs {
		// Of a bank that is not there the TPM would accept anything.
		read, err := tpm2.PCRRead{PCRSelectionIn: selection([]int{p})}.Execute(c.t)
		if err != nil {
			return nil, c.fault("read the PCRs", err)
		}
		if len(read.PCRValues.Digests) != 1 {
			return nil, fmt.Errorf("TPM %s: has no SHA-256 bank for PCR %d; switch it on in the firmware's set-up", c.device, p)
		}
	}
	session, end, err := tpm2.PolicySession(c.t, tpm2.TPMAlgSHA256, 16, tpm2.Trial())
	if err != nil {
		return nil, c.fault("start a session", err)
	}
	defer end()
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: selection(pcrs)}).Execute(c.t); err != nil {
		return nil, c.fault("bind to the PCRs", err)
	}
	digest, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(c.t)
	if err != nil {
		return nil, c.fault("bind to the PCRs", err)
	}
	return digest.PolicyDigest.Buffer, nil
}

// seal fills b with the identity file: encrypted with a random key, which the
// TPM seals. A TPM takes 128 bytes itself, and a rotation needs two identities.
func (c *chip) seal(b *tpmBlob, identity []byte) (err error) {
	policy, err := c.policy(b.PCRs)
	if err != nil {
		return err
	}
	erasing(func() {
		key := make([]byte, chacha20poly1305.KeySize)
		defer clear(key)
		rand.Read(key)
		var made *tpm2.CreateResponse
		made, err = tpm2.Create{
			ParentHandle: tpm2.AuthHandle{Handle: c.srk.ObjectHandle, Name: c.srk.Name,
				Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.AESEncryption(128, tpm2.EncryptIn), tpm2.Salted(c.srk.ObjectHandle, c.public))},
			InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
				Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: key})}},
			InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
				ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true},
				AuthPolicy:       tpm2.TPM2BDigest{Buffer: policy}}),
		}.Execute(c.t)
		if err != nil {
			err = c.fault("seal", err)
			return
		}
		b.Public, b.Private = tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate)
		var bound []byte
		if bound, err = b.bound(); err != nil {
			return
		}
		aead, aeadErr := chacha20poly1305.New(key)
		if err = aeadErr; err != nil {
			return
		}
		// The key is used once, so the nonce need not differ.
		b.Data = aead.Seal(nil, make([]byte, aead.NonceSize()), identity, bound)
	})
	return err
}

// unseal gives the key of a blob of the kind sealed.
func (c *chip) unseal(b *tpmBlob) (k *Key, err error) {
	h, done, err := c.load(b)
	if err != nil {
		return nil, err
	}
	defer done()
	bound, err := b.bound()
	if err != nil {
		return nil, err
	}
	erasing(func() {
		out, unsealErr := tpm2.Unseal{ItemHandle: h}.Execute(c.t)
		if unsealErr != nil {
			err = c.fault("unseal", unsealErr)
			return
		}
		defer clear(out.OutData.Buffer)
		aead, aeadErr := chacha20poly1305.New(out.OutData.Buffer)
		if aeadErr != nil {
			err = fmt.Errorf("%w: what the TPM sealed is no key of ours", ErrCorrupt)
			return
		}
		text, openErr := aead.Open(nil, make([]byte, aead.NonceSize()), b.Data, bound)
		defer clear(text)
		if openErr != nil {
			err = fmt.Errorf("%w: the identity file in the blob was changed", ErrCorrupt)
			return
		}
		k, err = ParseKey(text)
	})
	if err == nil && !slices.Equal(k.Recipients(), b.Recipients) {
		k.Wipe()
		return nil, fmt.Errorf("%w: names other recipients than those of its keys", ErrCorrupt)
	}
	return k, err
}

// newKey has the TPM make a P-256 key for b.
func (c *chip) newKey(b *tpmBlob) error {
	policy, err := c.policy(b.PCRs)
	if err != nil {
		return err
	}
	made, err := tpm2.Create{ParentHandle: c.parent(),
		InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true, Decrypt: true},
			AuthPolicy:       tpm2.TPM2BDigest{Buffer: policy},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256,
				Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDH,
					Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256})}})})}.Execute(c.t)
	if err != nil {
		return c.fault("make a key", err)
	}
	b.Public, b.Private = tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate)
	return nil
}

// exchange gives the X coordinate that remote and the blob's key share.
func (c *chip) exchange(b *tpmBlob, remote *ecdh.PublicKey) ([]byte, error) {
	h, done, err := c.load(b)
	if err != nil {
		return nil, err
	}
	defer done()
	point := remote.Bytes() // 4, X, Y
	out, err := tpm2.ECDHZGen{KeyHandle: h, InPoint: tpm2.New2B(tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})}.Execute(c.t)
	if err != nil {
		return nil, c.fault("key exchange", err)
	}
	shared, err := out.OutPoint.Contents()
	if err != nil || len(shared.X.Buffer) > 32 {
		return nil, errTPMLies
	}
	x := make([]byte, 32) // TPMs leave out leading zeros
	copy(x[32-len(shared.X.Buffer):], shared.X.Buffer)
	clear(shared.X.Buffer)
	return x, nil
}

// prove uses the blob's key once, with a throw-away key on our side.
func (c *chip) prove(b *tpmBlob, public *ecdh.PublicKey) error {
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	want, err := own.ECDH(public)
	if err != nil {
		return err
	}
	got, err := c.exchange(b, own.PublicKey())
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errTPMLies
	}
	return nil
}
