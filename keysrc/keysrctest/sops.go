package keysrctest

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// SOPS gives a JSON file in sops's layout (stores/stores.go) whose data key is
// encrypted with age for these recipients. Its one value is as opaque as sops's
// own and can be decrypted by nobody.
func SOPS(tb testing.TB, recipients ...string) string {
	tb.Helper()
	const value = "ENC[AES256_GCM,data:d2hhdGV2ZXI=,iv:aXY=,tag:dGFn,type:str]"
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
		_, err = w.Write(bytes.Repeat([]byte{7}, 32))
		if err := errors.Join(err, w.Close(), a.Close()); err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, map[string]string{"recipient": text, "enc": enc.String()})
	}
	out, err := json.MarshalIndent(map[string]any{"password": value, "sops": map[string]any{
		"age": keys, "lastmodified": "2026-11-01T10:00:00Z", "mac": value, "version": "3.12.1"}}, "", "\t")
	if err != nil {
		tb.Fatal(err)
	}
	return string(out) + "\n"
}
