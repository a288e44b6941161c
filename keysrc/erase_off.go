//go:build !goexperiment.runtimesecret

package keysrc

// erasing only runs f: this build leaves copies that age makes while it works to
// the garbage collector, which frees and does not overwrite them.
func erasing(f func()) { f() }

func tidy() {}

// ErasesCopies tells whether this build overwrites the copies of a key that are
// made while it is used.
const ErasesCopies = false
