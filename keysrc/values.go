package keysrc

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"filippo.io/age"
)

// MinValue is the length in bytes from which on a decrypted value is looked for:
// shorter ones are found by chance.
const MinValue = 12

// maxValue is how much of a value is looked for.
const maxValue = 16 << 10

// Value is a decrypted value of a SOPS file. It cannot be printed.
type Value struct {
	File string // path in the tree
	Name string // the key before it in that file, which sops does not encrypt
	text []byte
}

// String names the value without its text.
func (v Value) String() string {
	if v.Name == "" {
		return "a value of " + v.File
	}
	return fmt.Sprintf("the value %q of %s", v.Name, v.File)
}

// Format is fmt.Formatter's, so that no verb shows the text.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, v.String()) }

// Short says that the value is too short to be looked for.
func (v Value) Short() bool { return len(v.text) < MinValue }

// Values are decrypted values, in memory only.
type Values []Value

// Wipe overwrites all of them.
func (vs Values) Wipe() {
	for _, v := range vs {
		clear(v.text)
	}
}

// Opener lends the host's identities to f: a Client of the process that holds the
// key, or a Chain.
type Opener interface {
	Prover
	Open(ctx context.Context, f func([]age.Identity) error) error
}

// Open lends f the agent's key.
func (c Client) Open(ctx context.Context, f func([]age.Identity) error) error {
	return f([]age.Identity{c.Identity(ctx)})
}

// Open gets the key, lends it to f and wipes it.
func (c Chain) Open(ctx context.Context, f func([]age.Identity) error) error {
	k, err := c.Fetch(ctx)
	if err != nil {
		return err
	}
	defer k.Wipe()
	return f(k.Identities())
}

// ReadValues decrypts the values of these SOPS files, which are in the tree or, by an
// absolute path, in the store. The caller wipes them. A file that does not open is an
// error.
func ReadValues(ctx context.Context, o Opener, tree fs.FS, files []Meta) (all Values, err error) {
	if len(files) == 0 {
		return nil, nil
	}
	err = o.Open(ctx, func(ids []age.Identity) error {
		for _, m := range files {
			read := func(name string) ([]byte, error) { return readTree(tree, name) }
			if filepath.IsAbs(m.Name) {
				read = readStore
			}
			content, err := read(m.Name)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			key, r := dataKey(ids, m)
			if key == nil {
				return Judge(nil, []Result{r})
			}
			values, err := decryptValues(key, m.Name, content)
			clear(key)
			all = append(all, values...)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		all.Wipe()
		return nil, err
	}
	return all, nil
}

// encRE is how sops writes a value in every format (aes/cipher.go, Encrypt).
var encRE = regexp.MustCompile(`ENC\[AES256_GCM,data:([A-Za-z0-9+/=]*),iv:([A-Za-z0-9+/=]+),tag:[A-Za-z0-9+/=]+,type:([a-z]+)\]`)

// decryptValues finds the values by their form alone, so it is one for all formats.
// That leaves out their place in the file, which is part of what the tag
// authenticates: a value that was damaged is sops's to refuse, here it is only not
// found. Comments and booleans are no secrets, and the file's MAC no value.
func decryptValues(key []byte, file string, content []byte) (out Values, err error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	for _, at := range encRE.FindAllSubmatchIndex(content, -1) {
		kind, name := string(content[at[6]:at[7]]), keyBefore(content[:at[0]])
		if kind == "comment" || kind == "bool" || name == "mac" || name == "sops_mac" {
			continue
		}
		data, err := base64.StdEncoding.AppendDecode(nil, content[at[2]:at[3]])
		if err != nil {
			return out, fmt.Errorf("a value is no base64: %w", err)
		}
		iv, err := base64.StdEncoding.AppendDecode(nil, content[at[4]:at[5]])
		if err != nil {
			return out, fmt.Errorf("an iv is no base64: %w", err)
		}
		gcm, err := cipher.NewGCMWithNonceSize(block, len(iv))
		if err != nil {
			return out, err
		}
		// Zeros encrypted are the key stream.
		stream := gcm.Seal(nil, iv, make([]byte, len(data)), nil)
		for i := range data {
			data[i] ^= stream[i]
		}
		clear(stream)
		text := bytes.TrimSpace(data)
		out = append(out, Value{File: file, Name: name, text: text[:min(len(text), maxValue)]})
	}
	return out, nil
}

// keyBefore gives the key that a value stands behind, or "" in a list.
func keyBefore(before []byte) string {
	line := string(before[bytes.LastIndexByte(before, '\n')+1:])
	line = strings.TrimRight(line, " \t\":='|>-")
	if i := strings.LastIndexAny(line, " \t\",{[("); i >= 0 {
		line = line[i+1:]
	}
	return clip(line)
}
