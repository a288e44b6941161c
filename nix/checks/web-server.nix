# Serves the flake's inputs to the machine itself.
{ lib, pkgs, ... }:
{
  systemd.services.inputs = {
    description = "Serve the inputs of the flake";
    wantedBy = [ "multi-user.target" ];
    serviceConfig.ExecStart = "${lib.getExe pkgs.darkhttpd} /etc/inputs --addr 127.0.0.1 --port 8000";
  };
}
