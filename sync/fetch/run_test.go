package fetch

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"pullnode/sync"
)

func (g *rig) write(w sync.Want) {
	g.tb.Helper()
	b, err := json.Marshal(w)
	if err == nil {
		err = replace(g.conf.WantPath, b, 0o644)
	}
	if err != nil {
		g.tb.Fatal(err)
	}
}

// report waits for the report on a request.
func (g *rig) report(n uint64) sync.Report {
	g.tb.Helper()
	for range 2000 {
		if b, err := os.ReadFile(g.conf.ReportPath); err == nil {
			if r, err := sync.DecodeReport(b); err == nil && r.Request == n {
				if fi, _ := os.Stat(g.conf.ReportPath); fi.Mode().Perm() != 0o600 {
					g.tb.Errorf("report has mode %v", fi.Mode())
				}
				return r
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.tb.Fatalf("no report on request %d", n)
	return sync.Report{}
}

func (g *rig) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			g.tb.Errorf("run: %v", err)
		}
	}
}

// Run answers what is there at its start, every higher number after that, and
// nothing twice.
func TestRun(t *testing.T) {
	r, ids := historyRepo(t)
	g := newRig(t)
	w := g.want(r.Dir)
	g.write(w)
	stop := g.start()
	if rep := g.report(1); rep.Class != sync.Moved {
		t.Fatalf("%+v", rep)
	}
	g.checkAnswer(r, w, ids[2])
	w = g.want(r.Dir)
	w.Known = ids[2]
	g.write(w)
	if rep := g.report(2); rep.Class != sync.Unchanged {
		t.Fatalf("%+v", rep)
	}
	// Junk, another format and an old number are passed over.
	for _, junk := range []string{"", "{", `{"format":99,"request":77}`, `{"format":1,"request":78,"surprise":1}`, `{"format":1,"request":79}`} {
		if err := replace(g.conf.WantPath, []byte(junk), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.Request = 1
	g.write(w)
	w.Request = 5
	g.write(w)
	if rep := g.report(5); rep.Class != sync.Unchanged {
		t.Fatalf("%+v", rep)
	}
	stop()
	// After a restart the answered request is not answered again.
	if err := os.Remove(g.conf.AnswerPath); err != nil {
		t.Fatal(err)
	}
	w.Known = ""
	g.write(w)
	stop = g.start()
	w.Request, w.Branch = 6, "gone"
	g.write(w)
	if rep := g.report(6); rep.Class != sync.MissingBranch {
		t.Fatalf("%+v", rep)
	}
	stop()
	if _, err := os.Stat(g.conf.AnswerPath); err == nil {
		t.Error("request 5 was answered twice")
	}
}

// The next remote is asked when one fails; when all fail each is named.
func TestRemotesInOrder(t *testing.T) {
	r, ids := historyRepo(t)
	g := newRig(t)
	w := g.want("/nowhere")
	w.Remotes = append(w.Remotes, sync.WantRemote{Name: "mirror", URL: r.Dir})
	if rep := g.moved(r, w, ids[2]); rep.Remote != "mirror" {
		t.Errorf("remote %s", rep.Remote)
	}
	w.Remotes[1].URL = "http://" + closedPort(t) + "/x"
	rep := g.Serve(context.Background(), w)
	if rep.Class != sync.NotFound || !strings.Contains(rep.Text, "origin: ") || !strings.Contains(rep.Text, "mirror: ") {
		t.Errorf("%+v", rep)
	}
}

// A report fits whatever a server and the settings put into it.
func TestReportFits(t *testing.T) {
	for _, text := range []string{strings.Repeat("<", 9000), strings.Repeat("\x00\n", 9000), strings.Repeat("é", 9000), strings.Repeat("\xff", 9000)} {
		b, err := encodeReport(sync.Report{Format: 1, Text: text, Remote: text, Tip: strings.Repeat("a", 40)})
		if err != nil || len(b) > sync.ReportLimit {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		rep, err := sync.DecodeReport(b)
		if err != nil || strings.ContainsAny(rep.Text, "\n\x00") {
			t.Errorf("%v %q", err, rep.Text)
		}
	}
}

// Secrets do not print.
func TestSecretHides(t *testing.T) {
	s := Secret{Token: "CANARY", Key: "CANARY"}
	if text := strings.Join([]string{s.String(), s.GoString(), s.LogValue().String()}, " "); strings.Contains(text, "CANARY") {
		t.Error(text)
	}
}
