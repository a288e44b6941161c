package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// keyOnDisk puts the SSH host key into the root file system of a machine's image, by
// debugfs: without root rights, and without the key in the store.
func keyOnDisk(ctx context.Context, image, work string, key hostKeyPair) error {
	offset, err := rootOf(image)
	if err != nil {
		return err
	}
	if err := key.write(filepath.Join(work, "root")); err != nil {
		return err
	}
	device := fmt.Sprintf("%s?offset=%d", image, offset)
	var todo strings.Builder
	for _, dir := range []string{"/etc", "/etc/ssh"} {
		fmt.Fprintf(&todo, "mkdir %s\n", dir) // it may be there
	}
	for name, mode := range map[string]string{newHostKey: "0100600", newHostKey + ".pub": "0100644"} {
		fmt.Fprintf(&todo, "rm /%[1]s\nwrite \"%[2]s\" /%[1]s\nset_inode_field /%[1]s mode %[3]s\nset_inode_field /%[1]s uid 0\nset_inode_field /%[1]s gid 0\n",
			name, filepath.Join(work, "root", name), mode)
	}
	script := filepath.Join(work, "debugfs")
	if err := os.WriteFile(script, []byte(todo.String()), 0o600); err != nil {
		return err
	}
	if _, err := quietTool(ctx, "debugfs", "-w", "-f", script, device); err != nil {
		return fmt.Errorf("debugfs: %w", err)
	}
	// It ends well whatever becomes of its commands.
	got, err := quietTool(ctx, "debugfs", "-R", "cat /"+newHostKey, device)
	if err != nil {
		return fmt.Errorf("debugfs: %w", err)
	}
	stat, err := quietTool(ctx, "debugfs", "-R", "stat /"+newHostKey, device)
	if err != nil {
		return fmt.Errorf("debugfs: %w", err)
	}
	if !bytes.Equal(got, key.private) || !bytes.Contains(stat, []byte("Mode:  0600")) {
		return errors.New("debugfs could not put the SSH host key into the image: is its root file system full?")
	}
	return nil
}

// rootOf gives the offset in bytes of the ext4 root file system in a disk image: the
// only one, or that which NixOS' image builders label.
func rootOf(image string) (int64, error) {
	f, err := os.Open(image)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	starts, err := partitions(f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", image, err)
	}
	var found, labelled []int64
	for _, at := range starts {
		super := make([]byte, 1024)
		if _, err := f.ReadAt(super, at+1024); err != nil || super[56] != 0x53 || super[57] != 0xef {
			continue
		}
		found = append(found, at)
		switch string(bytes.TrimRight(super[120:136], "\x00")) {
		case "nixos", "NIXOS_SD":
			labelled = append(labelled, at)
		}
	}
	if len(labelled) == 1 {
		return labelled[0], nil
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%s has %d ext4 file systems, and none of them is known to be the root", image, len(found))
	}
	return found[0], nil
}

// partitions gives where the partitions of an image begin, in bytes, by its GPT (UEFI
// specification, 5.3) or MBR, with sectors of 512 bytes.
func partitions(f io.ReaderAt) (starts []int64, err error) {
	const sector = 512
	head := make([]byte, 2*sector)
	if _, err := f.ReadAt(head, 0); err != nil || head[510] != 0x55 || head[511] != 0xaa {
		return nil, errors.New("no partition table")
	}
	gpt := head[sector:]
	if string(gpt[:8]) != "EFI PART" {
		for e := head[446:510]; len(e) > 0; e = e[16:] {
			if e[4] != 0 {
				starts = append(starts, int64(binary.LittleEndian.Uint32(e[8:]))*sector)
			}
		}
		return starts, nil
	}
	table, n, size := binary.LittleEndian.Uint64(gpt[72:]), binary.LittleEndian.Uint32(gpt[80:]), binary.LittleEndian.Uint32(gpt[84:])
	if table > 1<<32 || n > 1024 || size < 128 || size > 4096 {
		return nil, errors.New("a partition table that makes no sense")
	}
	for k := range n {
		e := make([]byte, size)
		if _, err := f.ReadAt(e, int64(table)*sector+int64(k)*int64(size)); err != nil {
			return nil, err
		}
		if start := binary.LittleEndian.Uint64(e[32:]); !bytes.Equal(e[:16], make([]byte, 16)) && start < 1<<40 {
			starts = append(starts, int64(start)*sector)
		}
	}
	return starts, nil
}
