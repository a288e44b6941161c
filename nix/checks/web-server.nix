# Serves the flake's inputs to the machine itself.
{ pkgs, ... }:
{
  systemd.services.inputs = {
    description = "Serve the inputs of the flake";
    wantedBy = [ "multi-user.target" ];
    serviceConfig.ExecStart = "${pkgs.python3Minimal}/bin/python3 -m http.server --bind 127.0.0.1 --directory /etc/inputs 8000";
  };
}
