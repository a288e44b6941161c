package health_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"pullnode/activate/health"
	"pullnode/activate/health/healthtest"
)

// TestMain sets a proxy that answers for every host and so would make any check
// well. It is done here because net/http reads the environment only once.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	os.Setenv("HTTP_PROXY", proxy.URL)
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

// TestKinds runs the suite on every kind that the program knows.
func TestKinds(t *testing.T) {
	cases := map[string]func(t *testing.T) healthtest.Kind{
		"unit": unitKind, "http": httpKind, "tcp": tcpKind, "command": commandKind,
	}
	for _, name := range health.Kinds.Names() {
		t.Run(name, func(t *testing.T) {
			if cases[name] == nil {
				t.Fatal("this kind is not in the suite")
			}
			k := cases[name](t)
			k.Type = name
			healthtest.Run(t, k)
		})
	}
}

func unitKind(*testing.T) healthtest.Kind {
	return healthtest.Kind{
		Seams: health.Seams{Systemd: &fakeSystemd{units: map[string]health.UnitState{
			"good.service":  loaded("active", "running", "success"),
			"once.service":  loaded("inactive", "dead", "success"),
			"loop.service":  loaded("activating", "auto-restart", "exit-code"),
			"start.service": loaded("activating", "start", "success"),
			"bad.service":   loaded("failed", "failed", "exit-code"),
		}}},
		Good:    `{"unit":"good"}`,
		Bad:     `{"units":["good.service","gone.service","start.service","bad.service"]}`,
		NotYet:  `{"units":["start.service","good.service"]}`,
		Unknown: `{"units":["start.service","gone.service"]}`,
		Hang:    `{"unit":"hang.service"}`,
		Invalid: map[string]string{`{}`: "no unit", `{"unit":"a b"}`: "a b", `{"units":["*.service"]}`: "*.service"},
	}
}

func TestUnit(t *testing.T) {
	seams := unitKind(t).Seams
	for settings, want := range map[string]string{
		`{"unit":"once.service","oneshot":true}`: "",
		`{"unit":"once.service"}`:                "once.service is inactive",
		`{"unit":"bad","oneshot":true}`:          "bad.service is failed",
		`{"unit":"loop.service"}`:                "keeps restarting",
		`{"unit":"none.service"}`:                "does not exist",
	} {
		expect(t, "unit", settings, seams, want)
	}
}

// expect opens and runs a check; want is in its error, "" for none.
func expect(t *testing.T, kind, settings string, seams health.Seams, want string) {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(settings), &m); err != nil {
		t.Fatal(err)
	}
	m["type"] = json.RawMessage(strconv.Quote(kind))
	raw, _ := json.Marshal(m)
	list, err := health.Open(map[string]json.RawMessage{"x": raw}, seams)
	if err != nil {
		t.Errorf("%s: %v", settings, err)
		return
	}
	err = list[0].Check.Run(t.Context())
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want %q", settings, err, want)
	}
}

func httpServer(t *testing.T, start func(http.Handler) *httptest.Server) *httptest.Server {
	stop := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ready: 7") })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	srv := start(mux)
	t.Cleanup(func() { close(stop); srv.Close() })
	return srv
}

func httpKind(t *testing.T) healthtest.Kind {
	srv := httpServer(t, httptest.NewServer)
	return healthtest.Kind{
		Good: `{"url":"` + srv.URL + `/ok","body":"ready: [0-9]+"}`,
		Bad:  `{"url":"` + srv.URL + `/bad"}`,
		Hang: `{"url":"` + srv.URL + `/hang"}`,
		Invalid: map[string]string{`{}`: "url", `{"url":"ftp://x/"}`: "ftp", `{"url":"http://u:p@x/"}`: "password",
			`{"url":"http://x/","status":"299-200"}`: "status", `{"url":"http://x/","status":"abc"}`: "abc",
			`{"url":"http://x/","body":"("}`: "body"},
	}
}

func TestHTTP(t *testing.T) {
	expect(t, "http", `{"url":"http://no-such-host.invalid/"}`, health.Seams{}, "no-such-host.invalid")
	var conns atomic.Int32
	srv := httpServer(t, func(h http.Handler) *httptest.Server {
		srv := httptest.NewUnstartedServer(h)
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		}
		srv.StartTLS()
		return srv
	})
	for settings, want := range map[string]string{
		`{"url":"URL/ok"}`:                                       "certificate",
		`{"url":"URL/ok","tlsVerify":false}`:                     "",
		`{"url":"URL/ok","tlsVerify":false,"body":"^7"}`:         "does not match",
		`{"url":"URL/away","tlsVerify":false}`:                   "status 302, want 200-299",
		`{"url":"URL/away","tlsVerify":false,"status":"302"}`:    "",
		`{"url":"URL/bad","tlsVerify":false,"status":"500-599"}`: "",
	} {
		expect(t, "http", strings.ReplaceAll(settings, "URL", srv.URL), health.Seams{}, want)
	}
	if n := conns.Load(); n != 6 {
		t.Errorf("%d connections for 6 runs", n)
	}
}

func listen(t *testing.T, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go serve(c)
		}
	}()
	return l.Addr().String()
}

func tcpKind(t *testing.T) healthtest.Kind {
	ssh := listen(t, func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-x\r\n") })
	mute := listen(t, func(net.Conn) {})
	return healthtest.Kind{
		Good: `{"address":"` + ssh + `","banner":"SSH-2.0-"}`,
		Bad:  `{"address":"` + ssh + `","banner":"220 "}`,
		Hang: `{"address":"` + mute + `","banner":"SSH"}`,
		Invalid: map[string]string{`{}`: "address", `{"address":"x"}`: "host:port", `{"address":":22"}`: "host:port",
			`{"address":"x:1","banner":"` + strings.Repeat("x", 2000) + `"}`: "banner"},
	}
}

func TestTCP(t *testing.T) {
	closing := listen(t, func(c net.Conn) { fmt.Fprint(c, "SS"); c.Close() })
	expect(t, "tcp", `{"address":"`+closing+`"}`, health.Seams{}, "")
	expect(t, "tcp", `{"address":"`+closing+`","banner":"SSH"}`, health.Seams{}, "EOF")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	expect(t, "tcp", `{"address":"`+l.Addr().String()+`"}`, health.Seams{}, "connection refused")
}

func commandKind(*testing.T) healthtest.Kind {
	return healthtest.Kind{
		Seams:   health.Seams{Commander: health.Plain{}},
		Good:    `{"argv":["/bin/sh","-c","exit 0"]}`,
		Bad:     `{"argv":["/bin/sh","-c","echo no luck; exit 3"]}`,
		NotYet:  `{"argv":["/bin/sh","-c","exit 21"]}`,
		Unknown: `{"argv":["/no/such/program"]}`,
		Hang:    `{"argv":["/bin/sh","-c","sleep 1000"]}`,
		Invalid: map[string]string{`{}`: "argv", `{"argv":[""]}`: "argv", `{"argv":["a\u0000"]}`: "zero"},
	}
}

func TestKindsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range health.Kinds.Names() {
		if !strings.Contains(string(doc), "### `"+name+"`") {
			t.Errorf("docs/health.md has no section for %s", name)
		}
	}
}

func TestOpenReportsEverythingAtOnce(t *testing.T) {
	_, err := health.Open(map[string]json.RawMessage{
		"a": json.RawMessage(`{"type":"htpp"}`), "b": json.RawMessage(`7`), "c": json.RawMessage(`{"type":"tcp","adress":"x:1"}`),
		"d d": json.RawMessage(`{}`), "e": json.RawMessage(`null`),
	}, health.Seams{})
	for _, want := range []string{`health.checks.a: unknown type "htpp", did you mean "http"?`, "health.checks.b: want an object",
		`health.checks.c: unknown setting "adress", did you mean "address"?`, "health.checks.d d: the name", "health.checks.e: want an object"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
