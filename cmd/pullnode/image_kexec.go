package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// kexecInitrd is the initrd in the tarball that nix/kexec.nix makes; its system reads
// imageKey there.
const kexecInitrd = "kexec_nixos.d/initrd"

// keyInKexec copies the tarball and appends to its initrd an archive with the SSH host
// key: the kernel unpacks one after the other.
func keyInKexec(from string, to *os.File, key []byte) (err error) {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	zip, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return err
	}
	in, out := tar.NewReader(unzip), tar.NewWriter(zip)
	given := false
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		var more []byte
		if h.Name == kexecInitrd || h.Name == "./"+kexecInitrd {
			// An archive that is not compressed begins at a multiple of 4; the kernel
			// skips zeros before it.
			more = append(make([]byte, -h.Size&3), initrdWith(imageKey[1:], key)...)
			h.Size, h.Mode, given = h.Size+int64(len(more)), 0o600, true
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
		if _, err := out.Write(more); err != nil {
			return err
		}
	}
	if !given {
		return fmt.Errorf("%s has no %s", from, kexecInitrd)
	}
	return errors.Join(out.Close(), zip.Close())
}

// initrdWith is a cpio archive, in the format newc, of one file of root's and the
// directory that it is in (Linux, Documentation/driver-api/early-userspace/
// buffer-format.rst).
func initrdWith(name string, content []byte) []byte {
	var b bytes.Buffer
	pad := func() { b.Write(make([]byte, -b.Len()&3)) }
	entry := func(ino int, name string, mode int, content []byte) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		pad()
		b.Write(content)
		pad()
	}
	for at, c := range name {
		if c == '/' {
			entry(at+1, name[:at], 0o040700, nil)
		}
	}
	entry(len(name)+1, name, 0o100600, content)
	entry(0, "TRAILER!!!", 0, nil)
	return b.Bytes()
}
