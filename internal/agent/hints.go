package agent

import (
	"errors"
	"fmt"
	"strings"

	"pullnode/activate"
)

// buildHints says what to do about a commit that gave no system, by the class of
// the failure, where the failure itself does not say; docs/recovery.md has the
// same words.
var buildHints = map[string]string{
	"export":    "remove it, commit, push",
	"inputs":    "look at the input's server; the whole text: pullnode history",
	"eval":      "push the fix; the whole text: pullnode history",
	"timeout":   "raise build.evalTimeout, build.timeout or build.maxSilentTime, or make it faster",
	"no-space":  "free space: nix-collect-garbage -d",
	"killed":    "it is tried again; if it stays: journalctl -u pullnode -u nix-daemon, and more memory",
	"collected": "it is tried again: something collected garbage meanwhile",
}

// rebootHint says how a system that no switch leads to comes to run. The boot
// default is the operator's to change: nothing has proven that system.
func rebootHint(toplevel string) string {
	return fmt.Sprintf("when a reboot is fine: nix-env -p /nix/var/nix/profiles/system --set %[1]s && %[1]s/bin/switch-to-configuration boot && reboot", toplevel)
}

func buildHint(b *activate.BuildError) string {
	// What nix says of the log does not help where there was no room for it.
	if b.Hint == "" || b.Class == "no-space" || b.Class == "timeout" {
		if h := buildHints[b.Class]; h != "" {
			return h
		}
	}
	return b.Hint
}

// asBuildError gives what is wrong with a commit a class, also where no job but
// the store itself has failed.
func asBuildError(err error) *activate.BuildError {
	var b *activate.BuildError
	if errors.As(err, &b) {
		return b
	}
	b = &activate.BuildError{Class: "nix", Text: err.Error()}
	if strings.Contains(strings.ToLower(b.Text), "no space left on device") {
		b.Class = "no-space"
	}
	return b
}
