package activate

import "testing"

// What ends a job from outside says nothing of the commit, so it is tried again.
func TestFailedJobs(t *testing.T) {
	for _, c := range []struct {
		r         JobResult
		text      string
		temporary bool
	}{
		{JobResult{Exit: 1, Err: []byte("error:\n  undefined variable 'x'\n")}, "it stopped: undefined variable 'x'", false},
		{JobResult{Reason: "signal"}, "it stopped: it was killed", true},
		{JobResult{Reason: "oom-kill"}, "it stopped: the machine had not enough memory", true},
		{JobResult{Reason: "timeout"}, "it stopped: it took too long", true},
		{JobResult{Exit: 1, Err: []byte("error: Nix daemon disconnected unexpectedly (maybe it crashed?)\n")},
			"it stopped: nix-daemon does not answer: Nix daemon disconnected unexpectedly (maybe it crashed?)", true},
		{JobResult{Exit: 1, Err: []byte("error: writing to file: No space left on device\n")}, "it stopped: no space left on device", true},
	} {
		if e := failed("eval", "it stopped", c.r); e.Text != c.text || e.Temporary() != c.temporary {
			t.Errorf("%+v: %q, temporary %v", c.r, e.Text, e.Temporary())
		}
	}
}
