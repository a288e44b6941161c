# services.pullnode. The units are those of nix/units, which the package brings;
# what is here makes them fit the settings of this host.
#
# Nothing of the commit goes in: two commits that mean the same system must give
# the same system, or there is no "nothing to do".
{
  config,
  lib,
  options,
  pkgs,
  ...
}:

let
  cfg = config.services.pullnode;

  daemonLimits = {
    # One build that is too big must not end all others.
    OOMPolicy = lib.mkDefault "continue";
    MemoryMax = lib.mkIf (cfg.nixDaemon.memoryMax != null) (lib.mkDefault cfg.nixDaemon.memoryMax);
    CPUWeight = lib.mkIf (cfg.nixDaemon.cpuWeight != null) (lib.mkDefault cfg.nixDaemon.cpuWeight);
  };
in
{
  imports = [
    ./module/settings.nix
    ./module/units.nix
    ./module/checks.nix
    ./module/need-secrets.nix
    ./module/sops.nix
  ];

  options.services.pullnode = {
    enable = lib.mkEnableOption "pullnode, which keeps this machine at the newest commit that its operators signed";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./nix/package.nix { }";
      example = lib.literalExpression "inputs.pullnode.packages.\${system}.pullnode";
      description = "The package that has the program and its units.";
    };

    settingsFile = lib.mkOption {
      type = lib.types.package;
      readOnly = true;
      description = "The settings as the program reads them, checked by it when they were built.";
    };

    tools = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = true;
        example = false;
        description = "Whether to install what operators use on a node: `age`, `curl`, `git`, `nh` and `sops`.";
      };

      deployRs = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = "Whether to install deploy-rs beside the tools, to push to other machines from this one.";
      };
    };

    nixDaemon = {
      memoryMax = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = "80%";
        example = "12G";
        description = ''
          What Nix and all its builds may use of the memory, as systemd's
          `MemoryMax=`. Builds belong to the Nix daemon and not to pullnode, so this
          is what keeps a build from pushing out the services of the machine. `null`
          sets no limit.
        '';
      };

      cpuWeight = lib.mkOption {
        type = lib.types.nullOr lib.types.int;
        default = 50;
        example = 20;
        description = ''
          The share of the processors that Nix and its builds get when others want
          them too, as systemd's `CPUWeight=`; services have 100. `null` leaves it.
        '';
      };
    };
  };

  config = lib.mkIf cfg.enable {
    environment.etc."pullnode/pullnode.json".source = cfg.settingsFile;

    environment.systemPackages = [
      cfg.package
    ]
    ++ lib.optionals cfg.tools.enable [
      pkgs.age
      pkgs.curl
      pkgs.git
      pkgs.nh
      pkgs.sops
    ]
    ++ lib.optional cfg.tools.deployRs pkgs.deploy-rs;

    # Evaluation and build run as users of their own. Where the daemon is open to
    # all, this adds nothing; "allowed-users" itself would replace its default.
    nix.settings.extra-allowed-users = [
      "pullnode-inputs"
      "pullnode-eval"
      "pullnode-build"
    ];

    systemd.services.nix-daemon.serviceConfig = daemonLimits;
    # Lix has an instance for each connection, with the builds in it.
    systemd.services."nix-daemon@" = lib.mkIf (config.nix.package.pname or null == "lix") {
      serviceConfig = daemonLimits;
    };
  };
}
