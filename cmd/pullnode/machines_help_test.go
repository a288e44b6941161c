package main

import "testing"

// What one reads who puts a system on a machine or looks after secrets.
func TestMachinesHelpGolden(t *testing.T) {
	got := ""
	for _, name := range [][]string{{"new-host"}, {"image"}, {"install"}, {"push"}, {"hook"}, {"secret", "new"}, {"secret", "edit"}, {"secret", "check"}} {
		got += typed(append(name, "--help")...)
	}
	golden(t, "machines-help", got)
}
