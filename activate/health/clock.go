package health

import (
	"time"

	"golang.org/x/sys/unix"
)

// slept gives how long the machine has been suspended since it booted: the
// difference between the clock that goes on in suspend and the one that stops.
func slept() time.Duration {
	var all, awake unix.Timespec
	// Neither fails for a clock that every Linux has.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake)
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &all)
	return time.Duration(all.Nano() - awake.Nano())
}
