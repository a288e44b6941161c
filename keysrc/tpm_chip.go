package keysrc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"golang.org/x/sys/unix"
)

// chip is an open TPM with its storage root key loaded. It has at most two
// objects and one session in the TPM at a time, so that it works also where no
// resource manager is between (a TPM has room for three).
type chip struct {
	t      transport.TPM
	device string
	srk    *tpm2.CreatePrimaryResponse
	public tpm2.TPMTPublic // of srk
}

// withTPM runs f with the TPM. It returns early when ctx is done or after
// deviceTimeout; f then ends by itself and its result is dropped.
func withTPM[T any](ctx context.Context, device string, f func(*chip) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, deviceTimeout)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = usingChip(device, func(c *chip) (err error) {
			r.v, err = f(c)
			return err
		})
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return none, r.err
		}
		return r.v, nil
	case <-ctx.Done():
		return none, fmt.Errorf("TPM %s: %w", device, ctx.Err())
	}
}

func usingChip(device string, f func(*chip) error) (err error) {
	t, err := openChip(device)
	if err != nil {
		return err
	}
	defer t.Close()
	c := &chip{t: t, device: device}
	// The template of the TCG, whose key follows from the TPM's seed alone.
	c.srk, err = tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t)
	if err != nil {
		return c.fault("storage root key", err)
	}
	defer c.flush(c.srk.ObjectHandle)
	public, err := c.srk.OutPublic.Contents()
	if err != nil {
		return c.fault("storage root key", err)
	}
	c.public = *public
	return f(c)
}

func openChip(device string) (transport.TPMCloser, error) {
	open := linuxtpm.Open
	if fi, err := os.Stat(device); err == nil && fi.Mode()&os.ModeSocket != 0 {
		open = linuxudstpm.Open
	}
	t, err := open(device)
	switch {
	case err == nil:
		return t, nil
	case isGone(err):
		return nil, fmt.Errorf("%w: there is no TPM at %s", ErrAbsent, device)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("TPM %s: this process may not use it; where it belongs to a group, add SupplementaryGroups= to the unit", device)
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("TPM %s: in use by another program; use /dev/tpmrm0, which can be shared", device)
	}
	return nil, fmt.Errorf("TPM %s: %w", device, err)
}

// isGone tells a device that is not there.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ECONNREFUSED)
}

// srkName tells this TPM from others, and from itself before it was cleared.
func (c *chip) srkName() []byte { return c.srk.Name.Buffer }

func (c *chip) flush(h tpm2.TPMHandle) { tpm2.FlushContext{FlushHandle: h}.Execute(c.t) }

// parent names the storage root key, for commands that need no secret to go
// to the TPM.
func (c *chip) parent() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: c.srk.ObjectHandle, Name: c.srk.Name, Auth: tpm2.PasswordAuth(nil)}
}

// fault says what an error of the TPM means for the key.
func (c *chip) fault(doing string, err error) error {
	switch {
	case isGone(err):
		return fmt.Errorf("%w: there is no TPM at %s", ErrAbsent, c.device)
	case errors.Is(err, tpm2.TPMRCPolicyFail), errors.Is(err, tpm2.TPMRCPCRChanged), errors.Is(err, tpm2.TPMRCPolicy):
		return fmt.Errorf("%w: the PCRs are not what they were when the key was put into the TPM: this machine booted with other firmware, settings or system", ErrDenied)
	case errors.Is(err, tpm2.TPMRCIntegrity), errors.Is(err, tpm2.TPMRCSize), errors.Is(err, tpm2.TPMRCInsufficient),
		errors.Is(err, tpm2.TPMRCValue), errors.Is(err, tpm2.TPMRCType), errors.Is(err, tpm2.TPMRCAttributes), errors.Is(err, tpm2.TPMRCHash), errors.Is(err, tpm2.TPMRCBinding):
		return fmt.Errorf("%w: the TPM does not take the blob (%s: %w)", ErrCorrupt, doing, err)
	}
	return fmt.Errorf("TPM %s: %s: %w", c.device, doing, err)
}

// load loads the blob's object and gives it with a session that satisfies its
// policy and encrypts what the TPM answers, so that a probe on the bus sees
// nothing. Close done right after use.
func (c *chip) load(b *tpmBlob) (h tpm2.AuthHandle, done func(), err error) {
	if string(b.SRK) != string(c.srkName()) {
		return h, nil, fmt.Errorf("%w: the key was put into another TPM, or this one was cleared since", ErrDenied)
	}
	pub, priv, err := b.object()
	if err != nil {
		return h, nil, err
	}
	obj, err := tpm2.Load{ParentHandle: c.parent(), InPublic: pub, InPrivate: priv}.Execute(c.t)
	if err != nil {
		return h, nil, c.fault("load", err)
	}
	session, end, err := tpm2.PolicySession(c.t, tpm2.TPMAlgSHA256, 16,
		tpm2.AESEncryption(128, tpm2.EncryptOut), tpm2.Salted(c.srk.ObjectHandle, c.public))
	if err != nil {
		c.flush(obj.ObjectHandle)
		return h, nil, c.fault("start a session", err)
	}
	done = func() {
		end()
		c.flush(obj.ObjectHandle)
	}
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: selection(b.PCRs)}).Execute(c.t); err != nil {
		done()
		return h, nil, c.fault("check the PCRs", err)
	}
	return tpm2.AuthHandle{Handle: obj.ObjectHandle, Name: obj.Name, Auth: session}, done, nil
}

func selection(pcrs []int) tpm2.TPMLPCRSelection {
	list := make([]uint, len(pcrs))
	for i, p := range pcrs {
		list[i] = uint(p)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(list...)}}}
}
