package lab

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// reachable asks the machine's port 9, which nobody serves: an answer of any
// kind is an answer.
func reachable(h *Host) bool {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(h.Addr, "9"), 2*time.Second)
	if err == nil {
		c.Close()
		return true
	}
	return strings.Contains(err.Error(), "refused")
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// private runs Nix with a store below a directory, without any daemon: what the
// demo does.
func private(t *testing.T) (root string, nix func(argv ...string) string) {
	t.Helper()
	if err := need("nix", "nix-bin"); err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, which cannot remove a store.
	root, err := os.MkdirTemp("", "pullnode-lab-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("chmod", "-R", "u+w", root).Run()
		os.RemoveAll(root)
	})
	env := append(os.Environ(), "PULLNODE_ROOT="+root, "HOME="+root, "NIX_REMOTE=", "NIX_STORE_DIR="+root+"/nix/store",
		"NIX_STATE_DIR="+root+"/nix/var/nix", "NIX_LOG_DIR="+root+"/nix/log", "NIX_CONF_DIR="+root+"/nix/etc",
		"NIX_CONFIG=build-users-group =\n"+strings.Replace(nixConf, "build-users-group = nixbld\n", "", 1))
	return root, func(argv ...string) string {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = env
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, errs.String())
		}
		return strings.TrimSpace(string(out))
	}
}

// The same files work without a machine, without root's store and without
// systemd; and a file that is no part of the system does not change it.
func TestFlakeWithoutMachine(t *testing.T) {
	root, run := private(t)
	dir := filepath.Join(root, "repo")
	files := FlakeFiles("web", Config{Gen: "A", Units: map[string]string{"odd@.service": "[Service]\nExecStart=@toplevel@/x ${y} \"z\"\n"},
		Etc: map[string]string{"a/b.conf": "text $out `x` \\n\n"}, Files: map[string]string{"site/index.html": "hello\n"}, Args: map[string]string{"tries": "3"}})
	maps.Copy(files, FlakeFiles("db", Config{Mode: "initchange"}))
	put(t, dir, files)
	build := func(host string) string {
		var built []struct{ Outputs map[string]string }
		out := run("nix", "build", "--no-link", "--json", "path:"+dir+"#nixosConfigurations."+host+".config.system.build.toplevel")
		if err := json.Unmarshal([]byte(out), &built); err != nil || len(built) != 1 {
			t.Fatal(out, err)
		}
		return built[0].Outputs["out"]
	}
	top := build("web")
	put(t, dir, map[string]string{"README": "more\n"})
	if again := build("web"); again != top {
		t.Errorf("a README changed the system from %s to %s", top, again)
	}
	for name, want := range map[string]string{
		"etc/systemd/system/odd@.service": "[Service]\nExecStart=" + top + "/x ${y} \"z\"\n",
		"etc/a/b.conf":                    "text $out `x` \\n\n",
		"site/index.html":                 "hello\n",
		"init-interface-version":          "systemd 1",
	} {
		if got, err := os.ReadFile(filepath.Join(top, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if db := build("db"); db == top || !strings.HasSuffix(db, "-nixos-system-db-1") {
		t.Errorf("the other host's system is %s", db)
	}
	run(top+"/bin/switch-to-configuration", "test")
	if got, err := os.Readlink(root + "/run/current-system"); err != nil || got != top {
		t.Errorf("the system that runs: %s, %v", got, err)
	}
	if err := os.Mkdir(root+"/profiles", 0o755); err != nil {
		t.Fatal(err)
	}
	run("nix-env", "-p", root+"/profiles/system", "--set", top)
	run(top+"/bin/switch-to-configuration", "boot")
	h := &Host{Name: "web", Root: root}
	for i, tries := range []string{"+3", "+2-1", "+1-2"} {
		if got, err := h.BootDefault(); err != nil || got != top {
			t.Fatalf("boot default: %s, %v", got, err)
		}
		if _, err := os.Stat(root + "/boot/loader/entries/nixos-generation-1" + tries + ".conf"); err != nil {
			t.Errorf("boot %d: %v", i, err)
		}
		if init, err := h.pick(); err != nil || len(init) != 1 || init[0] != top+"/init" {
			t.Fatalf("pick: %v, %v", init, err)
		}
	}
	// What a power cut leaves of loader.conf makes each later run fail.
	put(t, root, map[string]string{"boot/loader/loader.tmp": ""})
	cmd := exec.Command(top+"/bin/switch-to-configuration", "boot")
	cmd.Env = append(os.Environ(), "PULLNODE_ROOT="+root)
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("with a loader.tmp: %v, want exit status 1", err)
	}
}

func TestPick(t *testing.T) {
	for _, c := range []struct {
		name, files, def, oneshot string
		want                      string
	}{
		{"default", "1 2 3", "2", "", "2"},
		{"one shot", "1 2 3", "2", "1", "1"},
		{"one shot that is missing", "1 2", "2", "9", "2"},
		{"default is missing", "1 10 9", "5", "", "10"},
		{"no default", "1 2", "", "", "2"},
		{"tries used up", "1 2 3+0-3", "3", "", "2"},
		{"one shot with tries used up", "1 2+0-1", "1", "2", "1"},
		{"nothing but bad ones", "1+0-3 2+0-3", "1", "", "2"},
	} {
		h := &Host{Name: "h", Root: t.TempDir()}
		files := map[string]string{"boot/loader/entries/other.conf": ""}
		for _, n := range strings.Fields(c.files) {
			files["boot/loader/entries/nixos-generation-"+n+".conf"] = "options init=/s/" + strings.Split(n, "+")[0] + "/init quiet\n"
		}
		if c.def != "" {
			files["boot/loader/loader.conf"] = "timeout 5\ndefault nixos-generation-" + c.def + ".conf\n"
		}
		put(t, h.Root, files)
		if c.oneshot != "" {
			if err := h.OneShot("nixos-generation-" + c.oneshot); err != nil {
				t.Fatal(err)
			}
		}
		got, err := h.pick()
		if err != nil || got[0] != "/s/"+c.want+"/init" {
			t.Errorf("%s: %v, %v; want %s", c.name, got, err, c.want)
		}
		if _, err := h.Read("/boot/loader/oneshot"); err == nil {
			t.Errorf("%s: the one-shot entry is still set", c.name)
		}
	}
}

func TestMirror(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"sources.list", "# deb http://x.test/debian a main\ndeb [signed-by=/k] http://a.test/debian/ bookworm main contrib\n", "http://a.test/debian/"},
		{"sources.list", "deb http://a.test/debian-security bookworm-security main\n", ""},
		{"sources.list.d/d.sources", "Types: deb\nURIs: http://v.test/\nSuites: x\nComponents: main\n\nTypes: deb\nURIs: http://b.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n", "http://b.test/debian"},
		{"sources.list.d/d.sources", "# none\n", ""},
		{"sources.list.d/d.txt", "deb http://a.test/debian bookworm main\n", ""},
	} {
		dir := t.TempDir()
		put(t, dir, map[string]string{c.file: c.text})
		if got := mirror(dir); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.file, c.text, got, c.want)
		}
	}
}

// A machine's links lead inside the machine, wherever they point.
func TestFollow(t *testing.T) {
	root := t.TempDir()
	put(t, root, map[string]string{"etc/passwd": "x", "a/b": "y"})
	for link, to := range map[string]string{"l": "/etc/passwd", "up": "../../../../etc/passwd", "a/r": "../l", "d": "/a", "loop": "/loop"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[string]string{"/l": "/etc/passwd", "/up": "/etc/passwd", "/d/r": "/etc/passwd", "/d/b": "/a/b",
		"/new/file": "/new/file", "/../../x": "/x"} {
		if got, err := follow(root, p, 0); err != nil || got != root+want {
			t.Errorf("%s: %s, %v; want %s", p, got, err, want)
		}
	}
	if _, err := follow(root, "/loop", 0); err == nil {
		t.Error("a loop was followed to its end")
	}
}

func TestRootfsRefuses(t *testing.T) {
	if _, err := Rootfs(t.Context(), "potato"); err == nil || !strings.Contains(err.Error(), "bookworm") {
		t.Errorf("an unknown release: %v", err)
	}
}
