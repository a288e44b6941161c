package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"pullnode/internal/config"
	"pullnode/keysrc"
)

const (
	awaitUnit = "pullnode-await-key.service"
	// awaitTimeout is for one question; in it somebody may plug a stick in.
	awaitTimeout = 2 * time.Minute
	awaitEvery   = 5 * time.Second
)

// awaitKey is pullnode-await-key.service, which stands before
// pullnode-secrets.target. With "block-boot" it does not end before the key is
// there, but only while the machine boots: it must never hold up a switch.
func awaitKey(ctx context.Context, c *config.Config) error {
	once := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
		defer cancel()
		return keysrc.Client{Path: keySocket}.Await(ctx)
	}
	if keysrc.OnMissing(c.Keys.OnMissing) != keysrc.MissingBlockBoot || !booting(ctx) {
		return once(ctx)
	}
	return keysrc.AwaitBoot(ctx, awaitEvery, once, func(err error) { fmt.Fprint(os.Stderr, blockedBoot(err)) })
}

// blockedBoot is for who stands before the console and for who logs in.
func blockedBoot(err error) string {
	return fmt.Sprintf("the boot waits for this host's key (keys.onMissing = \"block-boot\"): %v\n"+
		"to go on without the key: systemctl stop %s; from the boot loader: systemd.mask=%s\n", err, awaitUnit, awaitUnit)
}

// booting says whether the start of the machine goes on. When systemd does not
// say, it is over: then nothing waits.
func booting(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	finished, err := conn.GetManagerProperty("FinishTimestampMonotonic")
	return err == nil && bootGoesOn(finished)
}

// bootGoesOn reads the property as go-systemd prints it: "@t 0".
func bootGoesOn(finished string) bool {
	return strings.TrimSpace(strings.TrimPrefix(finished, "@t")) == "0"
}
