package main

import (
	"slices"
	"strings"
)

// exampleOpen is the recipient of the example's host, whose private key lies in
// hosts/example/test-only-host-key for everybody to read.
const exampleOpen = "age1dfvtvyf8ma845a70pt6wyrrrur3rwneuzy5s2n6q4xzqq09sms0q85hhqg"

// exampleHostKey is the fingerprint of that key, which is no leak: the example's
// machine could not be tried out without it.
const exampleHostKey = "SHA256:Hg8Z917rd5G1n1V9eCbJFPtOJsBEewW0UcdNLtOgzu0"

// exampleLost are the other recipients of the example fleet. Nobody has their private
// halves, so that what counts on them counts on nobody.
var exampleLost = []string{
	"age1e2ct55dcpr0d6fwg7sgpwvgje3s3e73grt9apw9mwy63h2cfm93qmvn7pn",
	"age1nr2547rkkyf6pz3ewszfss0k84mzz7z3attyuwkfp0kydg8a9ymqdd3q87",
	"age1tlr0gura08akyx2d8wyu7ysqkd4kwjl7t7jzxvl4twt454dj839sjras0u",
	"age180ty9zw7n3zz02lfl0mys7a5d46g342vsugrm9dxu0cgwh90u3cs65ye8p",
	"age1cg2d8mwxsxrrnegffpzzqqa663r0fqz30za39u7mke2x3sfj3vqquq2ggx",
	"age1qz6dsy9e04qwmzjny7ggzxn8jqrzt7mevkwl8zlh5hrxr5c0upvq648ghf",
}

// example refuses the example's keys in files that are not its own.
func (s *secretLint) example(all []subject) {
	for _, u := range all {
		if slices.Contains(u.recipients, exampleOpen) && !strings.HasPrefix(u.name, "hosts/example/") {
			s.add("%s: everybody has the key %s, which is the example's: take it out, and change the secrets", u, nameOf(s.conf, exampleOpen))
		}
		own := slices.ContainsFunc(u.recipients, func(r string) bool { return r != exampleOpen && !slices.Contains(exampleLost, r) })
		for _, r := range u.recipients {
			if own && slices.Contains(exampleLost, r) {
				s.add("%s: nobody has the key %s, which is the example's: put your own in its place", u, nameOf(s.conf, r))
			}
		}
	}
}
