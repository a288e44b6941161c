// Command demo shows pullnode's main job on one machine, without touching it:
// the real loop, real Git over HTTP, real SSH signatures and real Nix, with a
// store, a profile and ports of its own below one temporary directory.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	inLab := flag.Bool("lab", false, "the same with installed units on a machine under systemd-nspawn")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *inLab); err != nil {
		fmt.Fprintln(os.Stderr, "demo: error:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, inLab bool) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case rigError:
			err = r
		default:
			panic(r)
		}
	}()
	start := startPlain
	if inLab {
		start = startLab
	} else if err := needs(ctx); err != nil {
		return err
	}
	before, err := machine()
	if err != nil {
		return err
	}
	d, err := newDemo(ctx)
	if err != nil {
		return err
	}
	defer d.close()
	if d.node, err = start(d); err != nil {
		return err
	}
	for _, act := range acts {
		say("\n== %s", act.title)
		if err := act.do(d); err != nil {
			say("%s", d.log())
			return fmt.Errorf("%s: %w", act.title, err)
		}
		say("$ pullnode status\n%s$ pullnode history\n%s", d.run("status"), d.run("history"))
	}
	after, err := machine()
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("the machine was touched:\n%s\nwas\n%s", after, before)
	}
	say("\nDone. This machine's own system profile, /run/current-system and /boot are as before.")
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

type act struct {
	title string
	do    func(d *demo) error
}

var acts = []act{
	{"a signed commit is deployed", func(d *demo) error {
		d.page("hello from commit one")
		d.commit(true, "site: say hello")
		return d.until("in-sync", "hello from commit one")
	}},
	{"an unsigned commit is refused", func(d *demo) error {
		d.page("whoever controls the server says hello")
		d.commit(false, "site: unsigned change")
		if err := d.until("refused", "hello from commit one"); err != nil {
			return err
		}
		d.git("reset", "-q", "--hard", "HEAD~1")
		d.push()
		return nil
	}},
	{"an unhealthy commit is put back", func(d *demo) error {
		d.page("")
		d.commit(true, "site: drop the front page")
		return d.until("held", "hello from commit one")
	}},
	{"git revert is deployed", func(d *demo) error {
		d.git("revert", "-n", "HEAD")
		d.commit(true, "Revert \"site: drop the front page\"")
		d.page("and a new page")
		d.commit(true, "site: a new page")
		if err := d.until("in-sync", "and a new page"); err != nil {
			return err
		}
		d.git("revert", "-n", "HEAD")
		d.commit(true, "Revert \"site: a new page\"")
		return d.until("in-sync", "hello from commit one")
	}},
	{"a commit that changes only the README switches nothing", func(d *demo) error {
		was := d.generation()
		d.write("README", "documentation\n")
		d.commit(true, "README: say more")
		if err := d.until("in-sync", "hello from commit one"); err != nil {
			return err
		}
		if now := d.generation(); now != was {
			return fmt.Errorf("generation %s became %s", was, now)
		}
		return nil
	}},
}

// until waits until the node's status is as wanted for the newest commit and the
// site shows text.
func (d *demo) until(sync, text string) error {
	head := strings.TrimSpace(d.git("rev-parse", "HEAD"))
	var last string
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); {
		s := d.status()
		about := s.Running != nil && s.Running.ID == head || s.Wanted != nil && s.Wanted.ID == head
		last = fmt.Sprintf("%s about %v", s.Sync, about)
		if s.Sync == sync && about && strings.Contains(d.visit(), text) {
			return nil
		}
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-d.died():
			return fmt.Errorf("the agent ended")
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("after 90 s the node is %s, the site shows %q; wanted %s with %q", last, d.visit(), sync, text)
}
