// Package nix has the tests of the Nix files: what the flake, the module, the
// hosts and the images say. They run with Debian's Nix and without nixpkgs, so
// they say nothing about NixOS itself; `make eval NIXPKGS=dir` evaluates on it.
package nix
