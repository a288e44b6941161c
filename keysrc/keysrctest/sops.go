package keysrctest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// SOPS gives a JSON file in sops's layout (stores/stores.go) whose data key is
// encrypted with age for these recipients. Its one value is "password".
func SOPS(tb testing.TB, recipients ...string) string {
	tb.Helper()
	return SOPSWith(tb, map[string]string{"password": "an opaque value"}, recipients...)
}

// SOPSWith is SOPS with these values.
func SOPSWith(tb testing.TB, values map[string]string, recipients ...string) string {
	tb.Helper()
	key := bytes.Repeat([]byte{7}, 32)
	var keys []map[string]string
	for _, text := range recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			tb.Fatal(err)
		}
		var enc bytes.Buffer
		a := armor.NewWriter(&enc)
		w, err := age.Encrypt(a, r)
		if err != nil {
			tb.Fatal(err)
		}
		_, err = w.Write(key)
		if err := errors.Join(err, w.Close(), a.Close()); err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, map[string]string{"recipient": text, "enc": enc.String()})
	}
	tree := map[string]any{"sops": map[string]any{"age": keys, "lastmodified": "2026-11-01T10:00:00Z",
		"mac": encrypted(tb, key, "2026-11-01T10:00:00Z", "no real one"), "version": "3.12.1"}}
	for name, v := range values {
		tree[name] = encrypted(tb, key, name+":", v)
	}
	out, err := json.MarshalIndent(tree, "", "\t")
	if err != nil {
		tb.Fatal(err)
	}
	return string(out) + "\n"
}

// encrypted is a value as sops writes it: AES-256-GCM with a nonce of 32 bytes,
// which authenticates the value's place in the file too.
func encrypted(tb testing.TB, key []byte, place, value string) string {
	block, err := aes.NewCipher(key)
	if err != nil {
		tb.Fatal(err)
	}
	iv := bytes.Repeat([]byte{byte(len(place)), byte(len(value))}, 16)
	gcm, err := cipher.NewGCMWithNonceSize(block, len(iv))
	if err != nil {
		tb.Fatal(err)
	}
	sealed := gcm.Seal(nil, iv, []byte(value), []byte(place))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("ENC[AES256_GCM,data:%s,iv:%s,tag:%s,type:str]", b64(sealed[:len(value)]), b64(iv), b64(sealed[len(value):]))
}
