package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"path/filepath"
	"strings"
	"testing"

	"crypto/elliptic"

	"pullnode/internal/gitrig"
)

// blob takes the armor off an SSH signature and puts it on again around what f
// makes of the bytes.
func reArmor(t *testing.T, armored string, f func([]byte) []byte) string {
	t.Helper()
	body := strings.TrimSuffix(strings.TrimPrefix(armored, "-----BEGIN SSH SIGNATURE-----\n"), "-----END SSH SIGNATURE-----\n")
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return armorLines(f(raw))
}

// armorLines puts an SSH signature into its armor as ssh-keygen does.
func armorLines(blob []byte) string {
	enc := base64.StdEncoding.EncodeToString(blob)
	var b strings.Builder
	for len(enc) > 70 {
		b.WriteString(enc[:70] + "\n")
		enc = enc[70:]
	}
	return "-----BEGIN SSH SIGNATURE-----\n" + b.String() + enc + "\n-----END SSH SIGNATURE-----\n"
}

// field gives the offset and content of the n-th string field after the magic and
// the version of an SSHSIG.
func field(raw []byte, n int) (at int, content []byte) {
	at = len("SSHSIG") + 4
	for {
		size := int(binary.BigEndian.Uint32(raw[at:]))
		if content = raw[at+4 : at+4+size]; n == 0 {
			return at, content
		}
		at, n = at+4+size, n-1
	}
}

func sized(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

// ed25519Order is L of RFC 8032.
var ed25519Order, _ = new(big.Int).SetString("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed", 16)

func reversed(b []byte) []byte {
	out := bytes.Clone(b)
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// sPlusL adds the group's order to the second half of an Ed25519 signature.
func sPlusL(raw []byte) []byte {
	at, inner := field(raw, 4)
	s := new(big.Int).SetBytes(reversed(inner[len(inner)-32:]))
	s.Add(s, ed25519Order)
	changed := append(bytes.Clone(inner[:len(inner)-32]), reversed(s.FillBytes(make([]byte, 32)))...)
	return append(bytes.Clone(raw[:at]), sized(changed)...)
}

// nMinusS gives the other ECDSA signature of the same bytes.
func nMinusS(raw []byte) []byte {
	at, inner := field(raw, 4)
	format := inner[:4+binary.BigEndian.Uint32(inner)]
	rs := inner[len(format)+4:]
	r := rs[:4+binary.BigEndian.Uint32(rs)]
	s := new(big.Int).SetBytes(rs[len(r)+4:])
	other := new(big.Int).Sub(elliptic.P256().Params().N, s).Bytes()
	if other[0]&0x80 != 0 {
		other = append([]byte{0}, other...)
	}
	changed := append(bytes.Clone(format), sized(append(bytes.Clone(r), sized(other)...))...)
	return append(bytes.Clone(raw[:at]), sized(changed)...)
}

// Without the key anybody can make another commit id with the same signed bytes.
// Each such twin is refused, or it is harmless: a node that saw it first still
// follows the genuine history, and one that has the genuine commit takes it for
// that.
func TestCorpusTwins(t *testing.T) {
	s := newSite(t)
	s.Key("ec", "-t", "ecdsa", "-b", "256")
	s.signers(s.Signer("alice"), s.Signer("bob"), s.Signer("ec"))
	s.base = s.Commit("alice", "ec joins")
	rewrap := func(armored string, width int) string {
		lines := strings.Split(strings.TrimSuffix(armored, "\n"), "\n")
		body := strings.Join(lines[1:len(lines)-1], "")
		var b strings.Builder
		for len(body) > width {
			b.WriteString(body[:width] + "\n")
			body = body[width:]
		}
		return lines[0] + "\n" + b.String() + body + "\n" + lines[len(lines)-1] + "\n"
	}
	header := func(name, value string) func(t *testing.T, payload, sig string) string {
		return func(_ *testing.T, payload, sig string) string {
			return strings.Replace(gitrig.WithSignature(payload, sig), "\n\n", "\n"+name+" "+value+"\n\n", 1)
		}
	}
	armor := func(f func(string) string) func(t *testing.T, payload, sig string) string {
		return func(_ *testing.T, payload, sig string) string { return gitrig.WithSignature(payload, f(sig)) }
	}
	bin := func(f func([]byte) []byte) func(t *testing.T, payload, sig string) string {
		return func(t *testing.T, payload, sig string) string {
			return gitrig.WithSignature(payload, reArmor(t, sig, f))
		}
	}
	twins := []struct {
		name, key string
		harmless  bool
		make      func(t *testing.T, payload, sig string) string
	}{
		{"T1 armor in lines of 64", "alice", false, armor(func(a string) string { return rewrap(a, 64) })},
		{"T2 armor in one line", "alice", false, armor(func(a string) string { return rewrap(a, 4000) })},
		{"T3 reserved filled", "alice", false, bin(func(raw []byte) []byte {
			at, _ := field(raw, 2)
			return append(append(bytes.Clone(raw[:at]), sized([]byte("junk"))...), raw[at+4:]...)
		})},
		{"T4 a gpgsig-sha256 header", "alice", false, header("gpgsig-sha256", "junk")},
		{"T5 a header that begins like gpgsig", "alice", false, header("gpgsigX", "junk")},
		{"T6 a second gpgsig", "alice", false, header("gpgsig", "junk")},
		{"T7 a second armor", "alice", false, armor(func(a string) string { return a + a })},
		{"T8 text after the armor", "alice", false, armor(func(a string) string { return a + "junk\n" })},
		{"T9 text before the armor", "alice", false, armor(func(a string) string { return "junk\n" + a })},
		{"T10 the signature first", "alice", false, func(_ *testing.T, payload, sig string) string {
			return strings.Replace(payload, "\nauthor ", "\ngpgsig "+strings.ReplaceAll(strings.TrimSuffix(sig, "\n"), "\n", "\n ")+"\nauthor ", 1)
		}},
		{"T11 bytes after the signature", "alice", false, bin(func(raw []byte) []byte { return append(bytes.Clone(raw), 0) })},
		{"T12 Ed25519 S plus L", "alice", false, bin(sPlusL)},
		{"T13 ECDSA n minus s", "ec", true, bin(nMinusS)},
	}
	for _, tw := range twins {
		t.Run(strings.ReplaceAll(tw.name, " ", "_"), func(t *testing.T) {
			s.t, s.Repo = t, s.On(t)
			s.back()
			s.Write("a", tw.name)
			genuine := s.Commit(tw.key, "genuine")
			raw := s.Raw(genuine)
			payload := gitrig.Payload(raw)
			at := strings.Index(raw, "-----BEGIN")
			sig := strings.ReplaceAll(raw[at:strings.Index(raw, "-----END SSH SIGNATURE-----")], "\n ", "\n") + "-----END SSH SIGNATURE-----\n"
			if gitrig.WithSignature(payload, sig) != raw {
				t.Fatal("the test does not take the commit apart")
			}
			twin := s.RawCommit(tw.make(t, payload, sig))
			if twin == genuine {
				t.Fatal("this is no twin")
			}
			want := "MALFORMED"
			if tw.harmless {
				want = "DEPLOY"
			}
			if v := s.verify("--host", "x"); string(v.Name) != want {
				t.Errorf("shown first: %s %s, want %s", v.Name, v.Reason, want)
			}
			if v := s.verify("--host", "x", "--trusted", genuine); v.Name != "UP-TO-DATE" && v.Name != "MALFORMED" {
				t.Errorf("shown to a node that has the genuine one: %s %s", v.Name, v.Reason)
			}
			s.Git("reset", "-q", "--hard", genuine)
			next := s.Commit("alice", "next")
			trusted := s.base
			if tw.harmless {
				trusted = twin
			}
			if v := s.verify("--host", "x", "--trusted", trusted); v.Name != "DEPLOY" || string(v.Commit) != next {
				t.Errorf("the genuine next one is %s %s", v.Name, v.Reason)
			}
			if !tw.harmless {
				return
			}
			state := filepath.Join(t.TempDir(), "state")
			for _, c := range []struct{ at, want string }{{twin, "DEPLOY"}, {genuine, "UP-TO-DATE"}, {next, "DEPLOY"}, {twin, "ROLLBACK"}, {genuine, "ROLLBACK"}} {
				if v := s.verify("--host", "x", "--state", state, c.at); string(v.Name) != c.want {
					t.Errorf("one node, twin first: %s is %s %s, want %s", c.at, v.Name, v.Reason, c.want)
				}
			}
		})
	}
}
