//go:build goexperiment.runtimesecret

package keysrc

import (
	"runtime"
	"runtime/secret"
)

// erasing runs f and has the runtime overwrite what f leaves on the stack, in
// registers and, once unreachable, on the heap.
func erasing(f func()) { secret.Do(f) }

// tidy finds what is unreachable now and overwrites it: two rounds, as the
// second sweeps what the first has found.
func tidy() {
	runtime.GC()
	runtime.GC()
}

// ErasesCopies tells whether this build overwrites the copies of a key that are
// made while it is used.
const ErasesCopies = true
