package keysrc_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// BenchmarkLeakScan scans what a closure is made of, libraries and programs, for
// 100 secrets, in the page cache, beside grep for the same secrets and beside
// reading the same files and no more, all on two processors.
func BenchmarkLeakScan(b *testing.B) {
	secrets := map[string]string{}
	var list bytes.Buffer
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		s := fmt.Sprintf("%016x-%016x", rnd.Uint64(), rnd.Uint64())[:12+rnd.IntN(20)]
		secrets[fmt.Sprint("s", i)] = s
		fmt.Fprintln(&list, s)
	}
	id := newIdentity(b)
	tree, dir := b.TempDir(), b.TempDir()
	os.Mkdir(filepath.Join(tree, "secrets"), 0o755)
	write(b, filepath.Join(tree, "secrets", "web.json"), []byte(keysrctest.SOPSWith(b, secrets, id.Recipient().String())), 0o644)
	write(b, filepath.Join(tree, "list"), list.Bytes(), 0o600)
	values, err := readValues(b, id, tree)
	if err != nil {
		b.Fatal(err)
	}
	size := copyPrograms(b, dir)

	rate := map[string]float64{}
	run := func(name string, once func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				once(b)
			}
			rate[name] = float64(size) * float64(b.N) / b.Elapsed().Seconds()
			if name != "read" && rate["read"] > 0 {
				b.ReportMetric(rate[name]/rate["read"], "of-read")
			}
			if name == "pullnode" {
				b.ReportMetric(rate[name]/rate["grep"], "of-grep")
			}
		})
	}
	run("read", func(b *testing.B) { readAll(b, dir) })
	run("grep", func(b *testing.B) {
		cmd := exec.Command("sh", "-c", `find "$1" -type f -print0 | LC_ALL=C xargs -0 -P 2 -n 64 grep -lF -f "$2"`, "sh", dir, filepath.Join(tree, "list"))
		if out, _ := cmd.CombinedOutput(); len(out) > 0 {
			b.Fatalf("%s", out)
		}
	})
	run("pullnode", func(b *testing.B) {
		s := keysrc.NewScanner(keysrc.Look{Only: []string{}, Values: values})
		if leaks, err := s.Trees(b.Context(), []string{dir}); err != nil || len(leaks) > 0 {
			b.Fatal(leaks, err)
		}
	})
}

// readAll reads all files in dir on two processors.
func readAll(b *testing.B, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	for half := range 2 {
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for i := half; i < len(entries); i += 2 {
				f, err := os.Open(filepath.Join(dir, entries[i].Name()))
				for err == nil {
					_, err = f.Read(buf)
				}
				if err != io.EOF {
					b.Error(err)
				}
				f.Close()
			}
		})
	}
	wg.Wait()
}

// copyPrograms fills dir with up to 256 MiB of this machine's own files.
func copyPrograms(b *testing.B, dir string) (size int64) {
	files, _ := filepath.Glob("/usr/bin/*")
	libs, _ := filepath.Glob("/usr/lib/*/*.so*")
	for i, path := range append(files, libs...) {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		out, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(out, f)
		f.Close()
		if err != nil {
			continue // a directory
		}
		if err := out.Close(); err != nil {
			b.Fatal(err)
		}
		if size += n; size > 256<<20 {
			break
		}
	}
	return size
}
