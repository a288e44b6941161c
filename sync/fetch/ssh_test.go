package fetch

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

func user() string {
	if u := os.Getenv("USER"); u != "" && os.Getuid() != 0 {
		return u
	}
	return "root"
}

func sshAuth(tb testing.TB, r *gitrig.Repo, key, host string) Auth {
	tb.Helper()
	pub, err := os.ReadFile(r.Key(host) + ".pub")
	if err != nil {
		tb.Fatal(err)
	}
	return Auth{KeyFile: r.Key(key), HostKey: string(pub)}
}

func TestServeSSH(t *testing.T) {
	for _, c := range []struct{ accept, protocol string }{{"", "v0"}, {"AcceptEnv GIT_PROTOCOL", "v2"}} {
		t.Run(c.protocol, func(t *testing.T) {
			r, ids := historyRepo(t)
			url := "ssh://" + user() + "@" + r.SSHD(c.accept) + r.Dir
			g := newRig(t, func(conf *Config) { conf.Credentials = map[string]Auth{"origin": sshAuth(t, r, "deploy", "host")} })
			w := g.want(url)
			w.Trusted, w.Ancestry = ids[1], true
			if rep := g.moved(r, w, ids[2]); rep.Protocol != c.protocol {
				t.Errorf("protocol %s, want %s", rep.Protocol, c.protocol)
			}
			r.Write("flake.nix", "{ b = 2; }\n")
			next := r.Commit("alice", "next")
			w = g.want(url)
			w.Known, w.Trusted = ids[2], ids[2]
			g.moved(r, w, next)
			// The next poll goes over the connection of the last one.
			kept := g.clients["origin"]
			before := kept.link.(*sshLink).client
			if tip, err := kept.Tip(context.Background(), "main"); err != nil || tip != next {
				t.Fatalf("tip %s, %v", tip, err)
			}
			if before == nil || kept.link.(*sshLink).client != before {
				t.Error("the connection was not kept")
			}
		})
	}
}

func TestSSHErrors(t *testing.T) {
	r, _ := historyRepo(t)
	addr := r.SSHD("")
	base := "ssh://" + user() + "@" + addr
	for _, c := range []struct {
		name, url string
		auth      Auth
		class     sync.Class
	}{
		{"good", base + r.Dir, sshAuth(t, r, "deploy", "host"), ""},
		{"known_hosts line", base + r.Dir, Auth{KeyFile: r.Key("deploy"), HostKey: "[127.0.0.1]:22 " + sshAuth(t, r, "deploy", "host").HostKey}, ""},
		{"other host key", base + r.Dir, sshAuth(t, r, "deploy", "other"), sync.HostKey},
		{"other kind of host key", base + r.Dir, Auth{KeyFile: r.Key("deploy"), HostKey: sshAuth(t, r, "deploy", ecdsa(r)).HostKey}, sync.HostKey},
		{"no host key", base + r.Dir, Auth{KeyFile: r.Key("deploy")}, sync.HostKey},
		{"revoked line", base + r.Dir, Auth{KeyFile: r.Key("deploy"), HostKey: "@revoked * ssh-ed25519 AAAA"}, sync.HostKey},
		{"key refused", base + r.Dir, sshAuth(t, r, "stranger", "host"), sync.AuthFailed},
		{"no key", base + r.Dir, Auth{HostKey: sshAuth(t, r, "deploy", "host").HostKey}, sync.AuthFailed},
		{"no repository", base + "/nowhere", sshAuth(t, r, "deploy", "host"), sync.NotFound},
		{"quote in the path", base + "/it's/nowhere", sshAuth(t, r, "deploy", "host"), sync.NotFound},
		{"nobody listens", "ssh://x@" + closedPort(t) + "/x", sshAuth(t, r, "deploy", "host"), sync.Unreachable},
		{"password in the url", "ssh://x:y@" + addr + "/x", sshAuth(t, r, "deploy", "host"), sync.AuthFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := LsRemote(context.Background(), Options{Name: "origin", URL: c.url}, c.auth, "main")
			if classFrom(err) != c.class || (c.class == "") != (err == nil) {
				t.Errorf("%v (%s), want %q", err, classFrom(err), c.class)
			}
		})
	}
}

func ecdsa(r *gitrig.Repo) string {
	r.Key("ecdsa", "-t", "ecdsa")
	return "ecdsa"
}

// A server that takes the connection and says nothing ends at the deadline.
func TestSSHHang(t *testing.T) {
	r := gitrig.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	o := Options{URL: "ssh://git@" + l.Addr().String() + "/x", Limits: Limits{Poll: 300 * time.Millisecond}}
	if err := LsRemote(context.Background(), o, sshAuth(t, r, "deploy", "host"), "main"); classFrom(err) != sync.TimedOut {
		t.Errorf("%v (%s), want a timeout", err, classFrom(err))
	}
}

// After the kept connection is gone the next poll makes a new one.
func TestSSHReconnect(t *testing.T) {
	r, ids := historyRepo(t)
	url := "ssh://" + user() + "@" + r.SSHD("") + r.Dir
	secret, err := sshAuth(t, r, "deploy", "host").Load()
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, url, func(o *Options) { o.Secret = secret })
	for range 3 {
		if tip, err := c.Tip(context.Background(), "main"); err != nil || tip != ids[2] {
			t.Fatalf("tip %s, %v", tip, err)
		}
		c.link.(*sshLink).client.Conn.Close()
	}
}
