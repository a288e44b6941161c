package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// NetworkUp tells of addresses and routes that appear, once for all that come
// within a second, until ctx ends; then the channel is closed. Nothing that a
// server says goes in here, only the kernel's rtnetlink(7).
func NetworkUp(ctx context.Context) (<-chan struct{}, error) {
	const groups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	sock := os.NewFile(uintptr(fd), "rtnetlink") // non-blocking, so Close ends a Read
	stop := context.AfterFunc(ctx, func() { sock.Close() })
	came := make(chan struct{}, 1)
	go func() {
		defer stop()
		defer sock.Close()
		defer close(came)
		buf := make([]byte, 64<<10)
		for {
			n, err := sock.Read(buf)
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			if err == nil && !appeared(buf[:n]) { // ENOBUFS: some were lost, which is news too
				continue
			}
			select {
			case came <- struct{}{}:
			default:
			}
		}
	}()
	return calm(came, time.Second), nil
}

// appeared says whether one of the messages is of something new.
func appeared(raw []byte) bool {
	list, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return false
	}
	for _, m := range list {
		if m.Header.Type == unix.RTM_NEWADDR || m.Header.Type == unix.RTM_NEWROUTE {
			return true
		}
	}
	return false
}

// calm passes on one event for all that come within d of the first. What is not
// taken is not kept twice.
func calm(in <-chan struct{}, d time.Duration) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for range in {
			time.Sleep(d)
			select {
			case <-in:
			default:
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}
