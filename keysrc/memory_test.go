package keysrc_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/keysrc"
)

// scan reads the memory of a process and tells where one of the needles is. It
// reads what root can read: memfd_secret is not among it.
func scan(t *testing.T, pid int, needles ...[]byte) (found []string) {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	read := 0
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var rights string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &rights); err != nil || !strings.HasPrefix(rights, "rw") {
			continue
		}
		raw := make([]byte, to-from)
		n, _ := io.ReadFull(io.NewSectionReader(mem, from, to-from), raw)
		read += n
		for i, needle := range needles {
			if bytes.Contains(raw[:n], needle) {
				found = append(found, fmt.Sprintf("needle %d in %s", i, lines.Text()))
			}
		}
	}
	if read < 1<<20 {
		t.Fatalf("read only %d bytes of process %d", read, pid)
	}
	return found
}

// After the key was read, used and while it is held, nothing else than the
// locked memory has it. The scan is first shown to find what is there.
func TestNoCopyOfTheKey(t *testing.T) {
	if !keysrc.ErasesCopies {
		t.Skip("this build does not overwrite copies: GOEXPERIMENT=runtimesecret does")
	}
	id := newIdentity(t)
	// Larger than what a reader begins with.
	content := []byte(id.String() + "\n" + strings.Repeat("# a comment\n", 500))
	t.Run("plain", func(t *testing.T) { noCopy(t, id, content, "") })
	t.Run("sealed", func(t *testing.T) {
		hostKey := filepath.Join(t.TempDir(), "host")
		tool(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKey)
		k, err := open(t, map[string]any{"type": "ssh-host-key", "path": hostKey}).Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		to, err := age.ParseX25519Recipient(k.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		noCopy(t, id, encryptText(t, string(content), to), `,"unlock":"ssh-host-key:`+hostKey+`"`)
	})
}

func noCopy(t *testing.T, id *age.X25519Identity, content []byte, more string) {
	key := filepath.Join(t.TempDir(), "k")
	write(t, key, content, 0o600)
	path, socket := listen(t)
	planted := "KEYSRC_PLANTED=" + newIdentity(t).String()
	pid, _ := asSystemd(t, `{"type":"file","path":"`+key+`"`+more+`}`, socket, nil, planted)
	client := keysrc.Client{Path: path}
	if _, err := client.Unwrap(t.Context(), stanzasFor(t, id.Recipient())); err != nil {
		t.Fatal(err)
	}
	s, err := client.Holding(t.Context())
	if err != nil || !s.Held {
		t.Fatalf("%+v, %v", s, err)
	}
	if len(scan(t, pid, []byte(planted[len("KEYSRC_PLANTED="):]))) == 0 {
		t.Fatal("the scan does not find a planted key")
	}
	_, scalar := decodeIdentity(t, id.String())
	found := scan(t, pid, []byte(id.String()[len("AGE-SECRET-KEY-1"):]), []byte(strings.ToLower(id.String())), scalar)
	allowed := 0
	if s.Memory != keysrc.MemfdSecret {
		allowed = 1 // root can read all other memory
	}
	if len(found) > allowed {
		t.Errorf("copies of the key: %q", found)
	}
}

// decodeIdentity gives the secret scalar of an age identity: BIP 173 without its
// checksum, which age has checked.
func decodeIdentity(t *testing.T, text string) (prefix string, data []byte) {
	t.Helper()
	const set = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"
	i := strings.LastIndex(text, "1")
	acc, bits := 0, 0
	for _, c := range text[i+1 : len(text)-6] {
		acc, bits = acc<<5|strings.IndexRune(set, c), bits+5
		if bits >= 8 {
			bits -= 8
			data = append(data, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	if len(data) != 32 {
		t.Fatalf("scalar of %d bytes", len(data))
	}
	return text[:i], data
}
