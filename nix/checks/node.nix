# The machine of the VM tests: it follows /srv/infra, a repository on its own disk.
{ lib, pkgs, ... }:
{
  imports = [ ../module.nix ];

  services.pullnode = {
    enable = true;
    settings = {
      hostName = "machine";
      url = "/srv/infra/.git";
      # The first commit of repository.sh; TestRepositoryOfTheChecks compares it.
      introduction = "9ce9a67f068f725cb779178e2ee32a14299619be@SHA256:Hg8Z917rd5G1n1V9eCbJFPtOJsBEewW0UcdNLtOgzu0";
      schedule.interval = "5s";
      health = {
        settle = "2s";
        window = "20s";
        interval = "2s";
        successes = 2;
      };
    };
  };

  # Machines of tests cannot be switched, unless they say so.
  system.switch.enable = true;

  environment.systemPackages = [
    pkgs.gitMinimal
    pkgs.openssh
  ];
  environment.etc."test-key" = {
    source = ../../hosts/example/test-only-host-key;
    mode = "0600";
  };
  environment.etc."repository.sh".source = ./repository.sh;

  nix.settings.substituters = lib.mkForce [ ];
  virtualisation.memorySize = 2048;
}
