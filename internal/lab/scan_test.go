package lab

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// traces are the forms in which a key could be left somewhere.
type traces map[string][]byte

// tracesOf gives them for an identity, "AGE-SECRET-KEY-1...".
func tracesOf(t *testing.T, identity string) traces {
	t.Helper()
	scalar := bech32Data(t, identity)
	k, err := ecdh.X25519().NewPrivateKey(scalar)
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.ParseX25519Identity(identity)
	if err != nil || !bytes.Equal(k.PublicKey().Bytes(), bech32Data(t, id.Recipient().String())) {
		t.Fatalf("these are not the bytes of the key: %v", err)
	}
	// Without the checksum and what all keys share.
	text := identity[len("AGE-SECRET-KEY-1") : len(identity)-6]
	tr := traces{"text": []byte(text), "lower text": []byte(strings.ToLower(text)), "scalar": scalar, "hex": []byte(hex.EncodeToString(scalar)),
		"HEX": []byte(strings.ToUpper(hex.EncodeToString(scalar))), "base64": []byte(base64.StdEncoding.EncodeToString(scalar)[:40])}
	// In base64 a text looks one of three ways, by where it stands.
	for i := range 3 {
		enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("-", i) + text))
		tr[fmt.Sprintf("text in base64 at %d", i)] = []byte(enc[4 : len(enc)-4])
	}
	return tr
}

// bech32Data gives what BIP 173 puts behind the last "1", without its checksum.
func bech32Data(t *testing.T, text string) (data []byte) {
	t.Helper()
	text = strings.ToLower(text)
	acc, bits := 0, 0
	for _, c := range text[strings.LastIndexByte(text, '1')+1 : len(text)-6] {
		v := strings.IndexRune("qpzry9x8gf2tvdw0s3jn54khce6mua7l", c)
		if v < 0 {
			t.Fatalf("%q is not bech32", c)
		}
		if acc, bits = acc<<5|v, bits+5; bits >= 8 {
			bits -= 8
			data = append(data, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	return data
}

// find gives which forms are in b.
func (tr traces) find(b []byte) (forms []string) {
	for name, pattern := range tr {
		if bytes.Contains(b, pattern) {
			forms = append(forms, name)
		}
	}
	slices.Sort(forms)
	return forms
}

// hit is one place that holds a key.
type hit struct{ where, forms string }

// scanned is what a scan has looked at.
type scanned struct {
	hits                    []hit
	processes, files        int
	memory, disk, forbidden int64 // bytes; forbidden is memory that nobody may read
}

func (s *scanned) look(tr traces, where string, b []byte) {
	if forms := tr.find(b); len(forms) > 0 {
		s.hits = append(s.hits, hit{where, strings.Join(forms, ", ")})
	}
}

// in gives the hits whose place begins so.
func (s *scanned) in(prefix string) (hits []hit) {
	for _, h := range s.hits {
		if strings.HasPrefix(h.where, prefix) {
			hits = append(hits, h)
		}
	}
	return hits
}

// scan looks for a key everywhere in the running machine: in the memory of each of
// its processes, in swap, and in all files below /run, /var, /tmp, /dev/shm and the
// Nix store, as PID 1 and every process with mounts of its own sees them. The
// journal is in it as files, and once more as journalctl prints it.
func (h *Host) scan(t *testing.T, tr traces) *scanned {
	t.Helper()
	s := &scanned{}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.proc.leader))
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	mapped, mounts, files := map[string]bool{}, map[string]bool{}, map[[2]uint64]bool{}
	for _, p := range all {
		if got, err := os.Readlink(p + "/ns/pid"); err != nil || got != ns {
			continue // of another machine, or gone
		}
		s.processes++
		s.process(t, tr, p, mapped)
		if mnt, err := os.Readlink(p + "/ns/mnt"); err == nil && !mounts[mnt] {
			mounts[mnt] = true
			for _, dir := range []string{"run", "var", "tmp", "dev/shm", "nix/store"} {
				s.tree(t, tr, p+"/root/", dir, files)
			}
		}
	}
	s.swap(t, tr)
	out, err := h.Run(t.Context(), "journalctl", "--no-pager", "--all", "-o", "cat")
	if err != nil {
		t.Fatal(err)
	}
	s.look(tr, "journal", []byte(out))
	if s.processes < 5 || s.files < 50 || s.memory < 1<<20 {
		t.Fatalf("the scan saw too little to mean anything: %+v", s)
	}
	t.Logf("scanned %d processes (%d MB, %d kB that nobody may read) and %d files (%d MB): %d hits", s.processes, s.memory>>20, s.forbidden>>10, s.files, s.disk>>20, len(s.hits))
	return s
}

// process reads all mappings of one process. Those of a file that nobody has changed
// are read once for all processes.
func (s *scanned) process(t *testing.T, tr traces, proc string, seen map[string]bool) {
	t.Helper()
	comm, _ := os.ReadFile(proc + "/comm")
	where := "memory of " + strings.TrimSpace(string(comm)) + " "
	maps, err := os.ReadFile(proc + "/maps")
	if err != nil {
		return // gone
	}
	mem, err := os.Open(proc + "/mem")
	if err != nil {
		return
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		var from, to uint64
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err != nil || !strings.HasPrefix(f[1], "r") || from > 1<<62 {
			continue
		}
		if f[4] != "0" && f[1][1] != 'w' {
			id := strings.Join([]string{f[2], f[3], f[4], strconv.FormatUint(to-from, 16)}, " ")
			if seen[id] {
				continue
			}
			seen[id] = true
		}
		b := make([]byte, to-from)
		n, err := io.ReadFull(io.NewSectionReader(mem, int64(from), int64(to-from)), b)
		if err != nil && n == 0 {
			s.forbidden += int64(to - from)
			continue
		}
		s.memory += int64(n)
		s.look(tr, where+f[0], b[:n])
	}
	// Arguments and environment are in memory too; they are what is printed by mistake.
	for _, name := range []string{"cmdline", "environ"} {
		raw, _ := os.ReadFile(proc + "/" + name)
		s.look(tr, where+name, raw)
	}
}

// tree reads all files below a directory, each once.
func (s *scanned) tree(t *testing.T, tr traces, root, dir string, seen map[[2]uint64]bool) {
	t.Helper()
	filepath.WalkDir(root+dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // gone meanwhile, or no content of its own
		}
		var st unix.Stat_t
		if unix.Lstat(p, &st) != nil || seen[[2]uint64{st.Dev, st.Ino}] {
			return nil
		}
		seen[[2]uint64{st.Dev, st.Ino}] = true
		b, err := os.ReadFile(p)
		if err != nil {
			return nil
		}
		s.files++
		s.disk += int64(len(b))
		s.look(tr, "/"+strings.TrimPrefix(p, root), b)
		return nil
	})
}

// swap reads what this machine swaps to, if it does. It is of all machines together.
func (s *scanned) swap(t *testing.T, tr traces) {
	t.Helper()
	raw, err := os.ReadFile("/proc/swaps")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Scan() // the head
	for lines.Scan() {
		path := strings.Fields(lines.Text())[0]
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			t.Logf("swap %s is not of this name here", path)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64<<20)
		for {
			n, err := io.ReadFull(f, buf)
			s.look(tr, "swap", buf[:n])
			if err != nil {
				break
			}
			if _, err := f.Seek(-4096, io.SeekCurrent); err != nil {
				break
			}
		}
		f.Close()
	}
}
