package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"pullnode/internal/durable"
	"pullnode/keysrc"
)

// identityInput bounds what is read as an identity file.
const identityInput = 1 << 20

// stdin is where an identity file is read from.
var stdin io.Reader = os.Stdin

// keySealCommand puts a key into this machine's TPM. The identity comes on the
// standard input, so that it need not be a file anywhere.
func keySealCommand() *command {
	var device, pcrs string
	var fresh bool
	return &command{args: "[--new] [--pcrs 7] FILE", minArg: 1, maxArg: 1,
		short: "put the key on standard input, or a new one, into this machine's TPM; FILE gets what the source \"tpm\" reads",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&fresh, "new", false, "have the TPM make a key that never leaves it")
			fs.StringVar(&pcrs, "pcrs", "7", "bind it to these PCRs as they are now; \"\" for the chip alone")
			fs.StringVar(&device, "device", "", "the TPM (default /dev/tpmrm0)")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			t := keysrc.TPM{Device: device, PCRs: []int{}}
			for _, word := range strings.FieldsFunc(pcrs, func(r rune) bool { return r == ',' || r == ' ' }) {
				n, err := strconv.Atoi(word)
				if err != nil {
					return usageError("--pcrs: %q is no number", word)
				}
				t.PCRs = append(t.PCRs, n)
			}
			blob, recipients, err := seal(ctx, t, fresh)
			if errors.Is(err, keysrc.ErrAbsent) {
				return hint(err, "is the TPM switched on in the firmware, and the kernel's driver loaded? ls /dev/tpm*")
			}
			if err != nil {
				return err
			}
			err = durable.CreateExclusive(args[0], blob, 0o600)
			if errors.Is(err, os.ErrExist) {
				return hint(fmt.Errorf("%s is there already", args[0]), "it may be the only copy of a key: move it away first")
			}
			if err != nil {
				return err
			}
			for _, r := range recipients {
				fmt.Fprintln(out, r)
			}
			return nil
		}}
}

func seal(ctx context.Context, t keysrc.TPM, fresh bool) (blob []byte, recipients []string, err error) {
	if fresh {
		blob, recipient, err := t.NewKey(ctx)
		return blob, []string{recipient}, err
	}
	text, err := io.ReadAll(io.LimitReader(stdin, identityInput))
	defer clear(text)
	if err != nil {
		return nil, nil, err
	}
	k, err := keysrc.ParseKey(text)
	if err != nil {
		return nil, nil, fmt.Errorf("standard input: %w", err)
	}
	defer k.Wipe()
	blob, err = t.Seal(ctx, text)
	return blob, k.Recipients(), err
}
