# Prometheus' node exporter, for a Prometheus that comes through SSH or a VPN; and
# a health check: a new system that does not answer it is put back.
{ config, ... }:
let
  exporter = config.services.prometheus.exporters.node;
in
{
  services.prometheus.exporters.node = {
    enable = true;
    listenAddress = "127.0.0.1";
    enabledCollectors = [ "systemd" ];
  };

  services.pullnode.settings.health.checks.monitoring = {
    type = "http";
    url = "http://127.0.0.1:${toString exporter.port}/metrics";
    required = false;
  };
}
