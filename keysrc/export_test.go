package keysrc

// Bech32 is here for the tests' own conversion of public keys.
var Bech32 = bech32
