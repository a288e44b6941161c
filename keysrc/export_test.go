package keysrc

// Bech32 is here for the tests' own conversion of public keys.
var Bech32 = bech32

// OnDisks makes a "usb" source look for its stick elsewhere than in /sys.
func OnDisks(s Source, sys, dev string) Source {
	u := s.(stick)
	u.disks = disks{sys, dev}
	return u
}

// Superblock gives what a volume says of itself.
func Superblock(path string) (fs, label, uuid string, err error) {
	v, err := probe(path)
	return v.fs, v.label, v.uuid, err
}

// SetDefaultTPM makes another TPM than the kernel's the default one.
func SetDefaultTPM(device string) (restore func()) {
	was := defaultTPM
	defaultTPM = device
	return func() { defaultTPM = was }
}

// Slower is the pause after a search for a missing key.
var Slower = slower
