# Which repository the fleet follows, and where its trust begins. After a fork,
# write your own url here, and the introduction that `pullnode init` prints.
{ config, lib, ... }:
let
  placeholder = "0000000000000000000000000000000000000000@SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
in
{
  services.pullnode = {
    enable = true;
    settings = {
      url = lib.mkDefault "https://git.example.org/infra.git";
      introduction = lib.mkDefault placeholder;
    };
  };

  warnings = lib.optional (
    config.services.pullnode.settings.introduction == placeholder
  ) "services.pullnode.settings.introduction is the placeholder of modules/pullnode.nix: this machine will deploy nothing. `pullnode init` prints yours.";
}
