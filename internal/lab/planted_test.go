package lab

import (
	"encoding/json"
	"strings"
	"time"

	"pullnode/sync"
)

const syncDir = "/var/lib/pullnode-sync/"

// planted: the user of the fetching process is in somebody else's hands, who
// leaves a FIFO or a link where the agent expects answer and report. The agent
// says so, does not hang, and takes the next good answer.
func planted(n *node) {
	for _, c := range []struct{ file, script, want string }{
		{"answer", "mkfifo answer", "FIFO"},
		{"answer", "ln -s /etc/shadow answer", "symbolic link"},
		{"report", "mkfifo report", "FIFO"},
		{"report", "ln -s /etc/shadow report", "symbolic link"},
	} {
		run(n.ctx, n.t, n.h, "systemctl", "stop", "pullnode-sync")
		run(n.ctx, n.t, n.h, "sh", "-ec", "cd "+syncDir+"; rm -f "+c.file+"; "+c.script)
		n.within(time.Minute, c.script, func() bool {
			if c.file == "answer" {
				n.answerAsSync()
			}
			f := n.status().Failure
			return f != nil && strings.Contains(f.Text, c.want) && strings.Contains(f.Text, c.file)
		})
		if got := property(n.ctx, n.t, n.h, "pullnode", "NRestarts"); got != "0" {
			n.t.Errorf("%s: the agent was restarted %s times", c.script, got)
		}
		run(n.ctx, n.t, n.h, "systemctl", "start", "pullnode-sync")
		n.deployed(n.push(Config{}, "after "+c.script))
	}
}

// answerAsSync says that the tip has moved, to whatever was asked last.
func (n *node) answerAsSync() {
	n.t.Helper()
	raw, err := n.h.Read("/run/pullnode/want")
	var w sync.Want
	if err != nil || json.Unmarshal(raw, &w) != nil {
		return
	}
	raw, err = json.Marshal(sync.Report{Format: sync.StreamFormat, Request: w.Request, Class: sync.Moved})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.h.Write(syncDir+"report", raw); err != nil {
		n.t.Fatal(err)
	}
}
