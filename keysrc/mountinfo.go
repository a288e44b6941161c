package keysrc

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mountedAt tells whether a hand-over's ramfs is mounted at dir. Other mounts
// there do not count: a wrong setting must not unmount /run. It reads
// proc_pid_mountinfo(5) of this thread, whose namespace is the one that counts.
func mountedAt(dir string) (bool, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("find out what is mounted: %w", err)
	}
	defer f.Close()
	top := false
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// id parent dev root mountpoint options [tags] - type source options
		before, after, _ := strings.Cut(lines.Text(), " - ")
		at, what := strings.Fields(before), strings.Fields(after)
		if len(at) > 4 && unescape(at[4]) == dir {
			// The last one listed is the one on top.
			top = len(what) > 1 && what[0] == "ramfs" && what[1] == handoffSource
		}
	}
	return top, lines.Err()
}

// unescape undoes the kernel's \ooo for blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
