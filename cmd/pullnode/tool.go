package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// runTool runs a tool with its messages on this process's standard error.
func runTool(ctx context.Context, argv ...string) ([]byte, error) {
	return runWith(ctx, nil, argv)
}

// nixTool is runTool for tools that start Nix themselves: see nixConfig.
func nixTool(ctx context.Context, argv ...string) ([]byte, error) {
	return runWith(ctx, append(os.Environ(), nixConfig()), argv)
}

func runWith(ctx context.Context, env, argv []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	endsGently(cmd)
	cmd.Env = env
	var last lastLine
	cmd.Stderr = io.MultiWriter(os.Stderr, &last)
	out, err := cmd.Output()
	return out, last.explain(err)
}

// endsGently asks a tool to end when ctx does, so that it cleans up, and kills it if
// it does not.
func endsGently(cmd *exec.Cmd) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
}

// quietTool is runTool without messages: the error has the last one.
func quietTool(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var last lastLine
	cmd.Stderr = &last
	out, err := cmd.Output()
	return out, last.explain(err)
}

// driveTool hands the terminal to a tool.
func driveTool(ctx context.Context, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var last lastLine
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, io.MultiWriter(os.Stderr, &last)
	cmd.Env = env
	endsGently(cmd)
	return last.explain(cmd.Run())
}

// lastLine keeps the last line that was written to it.
type lastLine struct{ text, part string }

func (l *lastLine) Write(p []byte) (int, error) {
	lines := strings.Split(l.part+string(p), "\n")
	l.part = lines[len(lines)-1]
	for _, s := range lines[:len(lines)-1] {
		if s = strings.TrimSpace(s); s != "" {
			l.text = s
		}
	}
	return len(p), nil
}

func (l *lastLine) explain(err error) error {
	if err != nil && l.text != "" {
		return fmt.Errorf("%w: %s", err, safe(l.text))
	}
	return err
}

// nixConfig is what every Nix that a tool starts is told beside the operator's own
// settings: a tree does not choose where Nix gets things from.
func nixConfig() string {
	return "NIX_CONFIG=" + os.Getenv("NIX_CONFIG") + "\naccept-flake-config = false\nflake-registry =\nextra-experimental-features = nix-command flakes\n"
}
