package systemd

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"pullnode/activate"
)

// TestMain lets the test binary stand in for pullnode: the units under test
// call its verbs.
func TestMain(m *testing.M) {
	dir := os.Getenv("PULLNODE_TEST_RUN")
	if dir == "" {
		dir = "/run/pullnode"
	}
	var err error
	exit := 0
	switch {
	case len(os.Args) == 3 && os.Args[1] == "record":
		err = Record(dir, os.Args[2], os.Getenv)
	case len(os.Args) == 4 && os.Args[1] == "decide":
		exit, err = DecideVerb(dir, os.Args[2], activate.Decision(os.Args[3]))
	case len(os.Args) == 3 && os.Args[1] == "clean-loader":
		err = CleanLoader(os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if os.Args[1] != "decide" {
			exit = 1
		}
	}
	os.Exit(exit)
}

func owner(st os.FileInfo) uint32 { return st.Sys().(*syscall.Stat_t).Uid }
