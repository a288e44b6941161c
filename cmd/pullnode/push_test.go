package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pullnode/internal/agent"
)

// A pushed system is tried by the agent as a commit's is, is not undone by the
// commit from before, and is no stranger once the branch gives it.
func TestPushedSystem(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	link := filepath.Join(h.root, "run", "current-system")
	h.page("two\n")
	two := h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	top, _ := os.Readlink(link)
	h.page("")
	h.r.Commit("alice", "a page that its check does not like")
	h.cycle()
	h.page("three\n")
	h.r.Commit("alice", "three")
	h.want(h.cycle(), "in-sync", "healthy", "three")

	h.down = true
	runs := filepath.Join(h.root, "run")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.a.Run(ctx, func() {}) }()
	defer func() {
		cancel()
		mustDo(t, <-ended)
	}()
	pushed := func(top string) string {
		t.Helper()
		return typed("pushed", top, "--run", runs, "--state", filepath.Join(h.root, "state"))
	}
	if got := pushed(h.root); !strings.Contains(got, "was not kept: failed: ") || !strings.Contains(got, "is not in the store") {
		t.Error(got)
	}
	mustDo(t, os.WriteFile(filepath.Join(runs, pushNote), []byte(two+"\n"), 0o600))
	if got := pushed(top); !strings.Contains(got, top+" is kept\nexit status 0") {
		t.Fatal(got)
	}
	h.until("held at what was pushed", func(s agent.Status) bool {
		return s.Sync == "held" && s.Running != nil && s.Running.ID == two && strings.Contains(strings.Join(s.Why, ""), "was pushed")
	})
	runsPage := func(want string) {
		t.Helper()
		if got := string(read(t, filepath.Join(link, "site", "index.html"))); got != want {
			t.Errorf("the page is %q, want %q", got, want)
		}
	}
	runsPage("two\n")
	if got := pushed(top); !strings.Contains(got, "exit status 0") {
		t.Errorf("pushed again: %s", got)
	}

	// The server is back, with the commit from before: it is not deployed again.
	h.down = false
	back := time.Now()
	h.until("heard of the server", func(s agent.Status) bool { return s.Polled.After(back) && s.Sync == "held" && s.Phase == "" })
	runsPage("two\n")
	// The branch gives the system that was pushed.
	h.page("two\n")
	id := h.r.Commit("alice", "two again")
	h.until("in sync with it", func(s agent.Status) bool { return s.Sync == "in-sync" && s.Running.ID == id })
	h.page("four\n")
	id = h.r.Commit("alice", "four")
	h.until("in sync with the next", func(s agent.Status) bool { return s.Sync == "in-sync" && s.Running.ID == id })
	runsPage("four\n")
}

// deployRS keeps the contract of deploy-rs: its arguments, and that the activation
// script decides.
const deployRS = `printf '%s\n' "$@" > "$RIG/argv"
echo "$NIX_CONFIG" | grep -qx 'flake-registry =' || exit 9
test "$1" = --skip-checks; tree=${2#path:}; cp "${tree%#*}/flake.nix" "$RIG/pushed.nix"
test -z "$FAIL_DEPLOY" || { echo "activation failed" >&2; exit 1; }`

const pushFlake = `{
  outputs = _: {
    deploy.nodes.web01 = {
      hostname = "127.0.0.1";
      sshOpts = [ "-p" "%s" "-i" "%s" "-o" "UserKnownHostsFile=%s" ];
      profiles.system = { user = "root"; path = "x"; profilePath = "%s"; };
    };
  };
}`

func newPush(t *testing.T, profile string) *far {
	f := newFar(t)
	t.Setenv("FAIL_DEPLOY", "")
	f.tool("deploy", deployRS)
	f.write("known", "[127.0.0.1]:"+f.port+" "+string(read(t, f.r.Key("host")+".pub")))
	mustDo(t, os.MkdirAll(f.dir+"/far/root/run/pullnode/request", 0o755))
	f.r.Write("flake.nix", fmt.Sprintf(pushFlake, f.port, f.key, f.dir+"/known", profile))
	f.r.Commit("alice", "nodes")
	f.r.Git("-C", f.clone, "pull", "-q")
	return f
}

func (f *far) push(args ...string) (string, int) {
	f.t.Helper()
	return f.pullnode(append([]string{"push", "web01", "--repo", f.clone}, args...)...)
}

// An agent that does not run takes nothing, and finds nothing when it runs again.
func TestPushedToNobody(t *testing.T) {
	run, state := t.TempDir(), t.TempDir()
	mustDo(t, os.Mkdir(filepath.Join(run, "request"), 0o700))
	was := takeTimeout
	defer func() { takeTimeout = was }()
	takeTimeout = 0
	if got := typed("pushed", "/nix/store/x", "--run", run, "--state", state); !strings.Contains(got, "the agent does not take the system") || !strings.Contains(got, "exit status 1") {
		t.Error(got)
	}
	if left, _ := os.ReadDir(filepath.Join(run, "request")); len(left) > 0 {
		t.Errorf("the request lies there still: %v", left)
	}
}

// The verified tree goes to deploy-rs, and the node is told which commit it is.
func TestPush(t *testing.T) {
	f := newPush(t, pushProfile)
	mustDo(t, os.WriteFile(filepath.Join(f.clone, "flake.nix"), []byte("throw 1"), 0o644))
	out, code := f.push("--", "--debug-logs")
	if code != exitOK || !strings.Contains(out, "web01 keeps "+short(f.r.Head())) {
		t.Fatalf("exit %d: %s", code, out)
	}
	argv := regexp.MustCompile(`/[^ ]*/pullnode-push-[0-9]*/`).ReplaceAllString(strings.Join(strings.Fields(string(read(t, f.dir+"/argv"))), " "), "W/")
	if argv != "--skip-checks path:W/source#web01 --debug-logs" {
		t.Errorf("deploy got %s", argv)
	}
	if got := read(t, f.dir+"/pushed.nix"); string(got) != string(read(t, f.r.Dir+"/flake.nix")) {
		t.Errorf("the tree is not the signed one: %s", got)
	}
	if got := string(read(t, f.dir+"/far/root/run/pullnode/push")); got != f.r.Head()+"\n" {
		t.Errorf("the node was told %q", got)
	}
	t.Setenv("FAIL_DEPLOY", "1")
	if out, code := f.push(); code != exitFailed || !strings.Contains(out, "deploy: exit status 1: activation failed") {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestPushRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		profile string
		change  func(*far)
		args    []string
		say     string
	}{
		"unsigned": {pushProfile, func(f *far) {
			f.r.Commit("", "planted")
			f.r.Git("-C", f.clone, "pull", "-q")
		}, nil, "nothing is pushed: "},
		"not by the agent": {"", nil, nil, "would switch web01 without pullnode's checks and guard"},
		"no agent":         {pushProfile, func(f *far) { os.RemoveAll(f.dir + "/far/root/run") }, nil, "web01 has no agent that could take a system"},
		"agent is down":    {pushProfile, func(f *far) { f.write("agent-down", "") }, nil, "the agent of web01 does not run, and only it switches"},
		"other host key": {pushProfile, func(f *far) {
			f.write("known", "[127.0.0.1]:"+f.port+" "+string(read(f.t, f.r.Key("other")+".pub")))
		}, nil, "web01 was not asked whether it has an agent: exit status 255: Host key verification failed"},
		"another tree": {pushProfile, nil, []string{"--", ".#web01"}, ".#web01 is not for passing through"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPush(t, c.profile)
			if c.change != nil {
				c.change(f)
			}
			out, code := f.push(c.args...)
			if code == exitOK || f.has("argv") || !strings.Contains(out, c.say) {
				t.Errorf("exit %d, deploy ran %v: %s\nwant %q", code, f.has("argv"), out, c.say)
			}
		})
	}
}
