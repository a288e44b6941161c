package fetch

import (
	"fmt"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSelf bounds this process before it reads a byte from the network. A soft
// limit that is the hard one makes the kernel kill without asking: a Go program
// would ignore SIGXCPU.
func limitSelf(lim Limits) error {
	// Writing over the size limit then is an error, not death.
	signal.Ignore(syscall.SIGXFSZ)
	for _, l := range []struct {
		name  string
		which int
		max   uint64
	}{
		{"cpu time", unix.RLIMIT_CPU, lim.CPU},
		{"memory", unix.RLIMIT_DATA, lim.Memory},
		{"file size", unix.RLIMIT_FSIZE, uint64(max(lim.Answer, lim.Pack))},
		{"open files", unix.RLIMIT_NOFILE, 256},
		{"core size", unix.RLIMIT_CORE, 0},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.which, &now); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		v := min(l.max, now.Max)
		if err := unix.Setrlimit(l.which, &unix.Rlimit{Cur: v, Max: v}); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	// Collect garbage harder before the kernel says no.
	debug.SetMemoryLimit(int64(lim.Memory) / 4 * 3)
	return nil
}
