{ lib, ... }:
let
  inherit (lib) mkOption types;
  t = import ./types.nix { inherit lib; };
in
{
  options = {
    build = {
      cores = mkOption {
        type = types.ints.unsigned;
        default = 0;
        example = 2;
        description = "How many processors one build may use; 0 is all.";
      };
      evalTimeout = t.durationOption "30m" "Longest time of an evaluation.";
      timeout = t.durationOption "6h" "Longest time of a build.";
      maxSilentTime = t.durationOption "30m" "Longest time that a build may print nothing.";
      allowImportFromDerivation = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether evaluation may run builds.";
      };
      switchTimeout = t.durationOption "10m" "Ends a switch that hangs.";
    };
    fetch = {
      timeout = t.durationOption "10m" "Longest time of one fetch.";
      maxPack = t.countOption 268435456 "Most bytes that a server may send in one fetch.";
      maxMem = t.countOption 536870912 "Most memory of the fetching process, in bytes.";
      maxFiles = t.countOption 200000 "Most files of one commit.";
    };
  };
}
