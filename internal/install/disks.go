package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Disk is what lies on a device that is about to be wiped.
type Disk struct {
	Path string // as it was asked for
	Data string // "gpt partition table", "ext4"; empty when nothing was found
}

// block is lsblk's, as far as it is asked. Versions before 2.37 know one mount point
// alone, which is enough, and those before 2.33 quote everything.
type block struct {
	Path       string  `json:"path"`
	Type       string  `json:"type"`
	ReadOnly   boolean `json:"ro"`
	FSType     string  `json:"fstype"`
	PTType     string  `json:"pttype"`
	Mountpoint string  `json:"mountpoint"`
	Children   []block `json:"children"`
}

type boolean bool

func (b *boolean) UnmarshalJSON(raw []byte) error {
	*b = string(raw) == "true" || string(raw) == "1" || string(raw) == `"1"`
	return nil
}

// ends counts the bytes other than zero at both ends of a device, where partition
// tables, file systems and arrays have their marks.
// What cannot be read must not look empty: the status of a pipe is that of its end.
const ends = `head -c 1048576 "$1" >/dev/null && tail -c 1048576 "$1" >/dev/null && { head -c 1048576 "$1"; tail -c 1048576 "$1"; } | tr -d '\000' | wc -c`

// InUse is a disk that no flag lets be wiped.
type InUse struct{ Path, At string }

func (e *InUse) Error() string {
	return fmt.Sprintf("the disk %s is in use: mounted at %s", e.Path, e.At)
}

// Disks says what is on the devices. An error is a device that is not there, is no
// whole disk, cannot be written to or is named twice; and one in use, unless the
// system there leaves it.
func (i *Installer) Disks(ctx context.Context, devices []string) ([]Disk, error) {
	var all []Disk
	seen := map[string]string{}
	for _, dev := range devices {
		b, err := i.block(ctx, dev)
		if err != nil {
			return nil, err
		}
		switch first := seen[b.Path]; {
		case first != "":
			return nil, fmt.Errorf("%s and %s are the same disk", first, dev)
		case b.Type == "part" || b.Type == "rom":
			return nil, fmt.Errorf("%s is no whole disk, but of the type %s", dev, b.Type)
		case bool(b.ReadOnly):
			return nil, fmt.Errorf("the disk %s is read-only", dev)
		}
		seen[b.Path] = dev
		data := b.data()
		for _, at := range b.mounts() {
			if !i.Leaves && !(i.Again && i.below(at)) {
				return nil, &InUse{dev, at}
			}
			data = append(data, "in use, mounted at "+at)
		}
		if len(data) == 0 {
			if data, err = i.unmarked(ctx, b.Path); err != nil {
				return nil, fmt.Errorf("whether %s has data: %w", dev, err)
			}
		}
		all = append(all, Disk{Path: dev, Data: strings.Join(data, ", ")})
	}
	return all, nil
}

// block asks lsblk about one device.
func (i *Installer) block(ctx context.Context, dev string) (block, error) {
	out, err := i.there(ctx, "lsblk", "--json", "--output", "PATH,TYPE,RO,FSTYPE,PTTYPE,MOUNTPOINT", dev)
	if err != nil {
		return block{}, fmt.Errorf("the disk %s is not here: %w", dev, err)
	}
	var found struct {
		Blockdevices []block `json:"blockdevices"`
	}
	if err := json.Unmarshal(out, &found); err != nil || len(found.Blockdevices) != 1 {
		return block{}, fmt.Errorf("lsblk does not describe %s", dev)
	}
	return found.Blockdevices[0], nil
}

// unmarked finds what lsblk does not tell of: it reads udev's database, which may be
// old or missing, and knows nothing of a database on the bare disk.
func (i *Installer) unmarked(ctx context.Context, path string) ([]string, error) {
	out, err := i.there(ctx, "sh", "-c", ends, "sh", path)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return []string{"it cannot be read: " + err.Error()}, nil
	}
	switch strings.TrimSpace(string(out)) {
	case "0":
		return nil, nil
	case "":
		return nil, errors.New("nothing was read")
	}
	if kind, err := i.there(ctx, "blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", path); err == nil && len(kind) > 0 {
		return strings.Fields(string(kind)), nil
	}
	return []string{"something of an unknown kind"}, nil
}

// Same says whether two names are of one device where the disks are.
func (i *Installer) Same(ctx context.Context, a, b string) bool {
	if a == b {
		return true
	}
	one, err1 := i.there(ctx, "readlink", "-e", a)
	two, err2 := i.there(ctx, "readlink", "-e", b)
	return err1 == nil && err2 == nil && len(one) > 0 && string(one) == string(two)
}

func (i *Installer) there(ctx context.Context, argv ...string) ([]byte, error) {
	if i.There != nil {
		return i.There(ctx, argv...)
	}
	return i.Run(ctx, argv...)
}

func (b block) mounts() (at []string) {
	if b.Mountpoint != "" {
		at = append(at, b.Mountpoint)
	}
	for _, c := range b.Children {
		at = append(at, c.mounts()...)
	}
	return at
}

// below says whether a mount point is of a new system.
func (i *Installer) below(at string) bool {
	return at == i.Root || strings.HasPrefix(at, i.Root+"/") || at == "[SWAP]"
}

func (b block) swaps() (paths []string) {
	if b.Mountpoint == "[SWAP]" {
		paths = append(paths, b.Path)
	}
	for _, c := range b.Children {
		paths = append(paths, c.swaps()...)
	}
	return paths
}

func (b block) data() (what []string) {
	if b.PTType != "" {
		what = append(what, b.PTType+" partition table")
	}
	if b.FSType != "" {
		what = append(what, b.FSType)
	}
	for _, c := range b.Children {
		kind := c.FSType
		if kind == "" {
			kind = "data"
		}
		what = append(what, c.Path+" ("+kind+")")
	}
	return what
}
