package install

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Disk is what lies on a device that is about to be wiped.
type Disk struct {
	Path string
	Data string // "gpt with 2 partitions", "ext4"; empty when nothing was found
}

// block is lsblk's, as far as it is asked.
type block struct {
	Path        string    `json:"path"`
	FSType      string    `json:"fstype"`
	PTType      string    `json:"pttype"`
	Mountpoints []*string `json:"mountpoints"`
	Children    []block   `json:"children"`
}

// Disks says what is on the devices. A device that is not there is an error, and
// so is one in use, unless the system there leaves it: no flag lets it be wiped.
func (i *Installer) Disks(ctx context.Context, devices []string) ([]Disk, error) {
	there := i.There
	if there == nil {
		there = i.Run
	}
	var all []Disk
	for _, dev := range devices {
		out, err := there(ctx, "lsblk", "--json", "--output", "PATH,FSTYPE,PTTYPE,MOUNTPOINTS", dev)
		if err != nil {
			return nil, fmt.Errorf("the disk %s is not here: %w", dev, err)
		}
		var found struct {
			Blockdevices []block `json:"blockdevices"`
		}
		if err := json.Unmarshal(out, &found); err != nil || len(found.Blockdevices) != 1 {
			return nil, fmt.Errorf("lsblk does not describe %s", dev)
		}
		b := found.Blockdevices[0]
		data := b.data()
		if at := b.mounted(); at != "" && !i.Leaves {
			return nil, fmt.Errorf("the disk %s is in use: mounted at %s", dev, at)
		} else if at != "" {
			data += "; in use, mounted at " + at
		}
		all = append(all, Disk{Path: dev, Data: data})
	}
	return all, nil
}

func (b block) mounted() string {
	for _, m := range b.Mountpoints {
		if m != nil && *m != "" {
			return *m
		}
	}
	for _, c := range b.Children {
		if m := c.mounted(); m != "" {
			return m
		}
	}
	return ""
}

func (b block) data() string {
	var what []string
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
	return strings.Join(what, ", ")
}
