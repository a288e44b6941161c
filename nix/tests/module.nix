# The module in several settings, as JSON for module_test.go. By itself on
# minilib.nix; with nixpkgs on its library. The rest of NixOS is left out either
# way, so this is not a test on NixOS: that is `make eval`.
{
  nixpkgs ? null,
  # For the lab: the settings of services.pullnode in JSON, and whether there is
  # sops-nix beside it.
  host ? null,
  secrets ? true,
}:
let
  lib = if nixpkgs == null then import ./minilib.nix else import (nixpkgs + "/lib");
  b = builtins;

  inherit (import ./mock-pkgs.nix { inherit lib; real = nixpkgs != null; }) drv pkgs crossPkgs;

  # What of NixOS the module reads. On nixpkgs' library each needs an option.
  base = {
    networking.hostName = lib.mkDefault "web01";
    nix = {
      enable = lib.mkDefault true;
      package = drv "nix";
      settings.trusted-users = [ "root" ];
    };
    systemd.package = drv "systemd";
    security.tpm2.tssGroup = "tss";
    system.switch.enable = lib.mkDefault true;
    system.autoUpgrade.enable = lib.mkDefault false;
  };
  inherit (import ./options-around.nix { inherit lib; real = nixpkgs != null; }) nixos sops installs;

  evaluate = evaluateWith pkgs;
  evaluateWith =
    pkgs: modules:
    lib.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        ../module.nix
        nixos
        { config = base; }
      ]
      ++ modules;
    };
  minimal = {
    enable = true;
    settings = {
      url = "https://git.example.org/infra.git";
      introduction = "4f2c9e16fd807b096b48283debdcddccfea34bad@SHA256:9fXqYYds7uXWxH79aI0Wu1dP3cQ5mE8rT2kB6nLvZlQ";
    };
  };
  with' = settings: { services.pullnode = lib.mkMerge [ minimal { inherit settings; } ]; };

  # What is left of a configuration in JSON.
  result = modules: resultOf (evaluate modules);
  resultOf =
    evaluated:
    let
      c = evaluated.config;
    in
    {
      settings = b.fromJSON c.services.pullnode.settingsFile.env.settings;
      check = c.services.pullnode.settingsFile.script;
      failed = map (a: a.message) (b.filter (a: !a.assertion) c.assertions);
      inherit (c.systemd) services sockets;
      targets = c.systemd.targets or { };
      packages = map (p: p.name) c.environment.systemPackages;
      nixSettings = c.nix.settings;
      pcscd = c.services.pcscd.enable;
      sops =
        if c ? sops then c.sops // { age = c.sops.age // { plugins = map (p: p.name) c.sops.age.plugins; }; } else null;
    };
  refused = modules: !(b.tryEval (b.deepSeq (result modules) true)).success;

  keySettings.keys.sources = [ { type = "ssh-host-key"; } ];
in
{
  library = if nixpkgs == null then "minilib, which is not NixOS" else "the library of nixpkgs, without the rest of NixOS";
  options = import ./options.nix {
    inherit lib;
    inherit (evaluate [ ]) options;
  };
  cases = {
    minimal = result [ { services.pullnode = minimal; } ];
    full = result [
      (with' {
        auth.tokenFile = "/var/lib/token";
        remotes = [
          {
            url = "ssh://git@mirror.example.org/infra.git";
            auth.keyFile = "/var/lib/deploy-key";
            auth.hostKey = "ssh-ed25519 AAAA";
          }
          {
            name = "local";
            url = "/srv/infra.git";
          }
        ];
        schedule.cron = [ "*/10 6-22 * * *" ];
        health.checks.web = {
          type = "http";
          url = "http://127.0.0.1/";
        };
        keys.sources = [
          {
            type = "credential";
            name = "host.age";
          }
          {
            type = "tpm";
            path = "/var/lib/host.tpm";
          }
        ];
      })
      { services.pullnode.credentials."host.age".path = "/var/lib/host.age.cred"; }
      { services.pullnode.tools.deployRs = true; }
    ];
    sopsUntouched = result [
      sops
      { services.pullnode = minimal; }
    ];
    sopsWired = result [
      sops
      (with' keySettings)
    ];
    sopsFile = result [
      sops
      (with' (keySettings // { keys = keySettings.keys // { handoff = "file"; }; }))
    ];
    sopsOwn = result [
      sops
      (with' keySettings)
      { sops.age.keyFile = "/var/lib/own.age"; }
    ];
    sopsEarly = result [
      sops
      installs
      (with' keySettings)
      { services.pullnode.needSecrets = [ "web" ]; }
    ];
    sopsLate = result [
      sops
      installs
      (with' (
        keySettings
        // {
          keys.onMissing = "block-boot";
          keys.sources = [
            { type = "yubikey"; }
            {
              type = "git";
              unlock = "tpm:/var/lib/wrap.tpm";
            }
          ];
        }
      ))
    ];
    sopsForUsers = result [
      sops
      (with' keySettings)
      { sops.secrets.password.neededForUsers = true; }
    ];
    sopsFileForUsers = result [
      sops
      (with' (keySettings // { keys = keySettings.keys // { handoff = "file"; }; }))
      { sops.secrets.password.neededForUsers = true; }
    ];
    nothing = result [ { services.pullnode.enable = true; } ];
    autoUpgrade = result [
      { services.pullnode = minimal; }
      { system.autoUpgrade.enable = true; }
    ];
    observe = result [
      (with' { operation = "observe"; })
      { system.autoUpgrade.enable = true; }
    ];
    comin = result [
      { services.pullnode = minimal; }
      { services.comin.enable = true; }
      { options.services.comin.enable = lib.mkEnableOption "comin"; }
    ];
    daemonUser = result [
      { services.pullnode = minimal; }
      { nix.daemonUser = "nix-daemon"; }
    ];
    everybodyTrusted = result [
      { services.pullnode = minimal; }
      { nix.settings.trusted-users = lib.mkForce [ "*" ]; }
    ];
    nixOff = result [
      { services.pullnode = minimal; }
      { nix.enable = false; }
    ];
    noSwitch = result [
      { services.pullnode = minimal; }
      { system.switch.enable = false; }
    ];
    # A key source each: what it needs beyond the unit file.
    keysUSB = result [ (with' { keys.sources = [ { type = "usb"; } ]; }) ];
    keysTPM = result [
      (with' {
        keys.sources = [
          {
            type = "tpm";
            path = "/var/lib/host.tpm";
          }
        ];
      })
      { security.tpm2.enable = true; }
    ];
    keysServer = result [
      (with' {
        keys.sources = [
          {
            type = "server";
            url = "https://keys.example.org";
          }
        ];
      })
    ];
    cross = resultOf (evaluateWith crossPkgs [ { services.pullnode = minimal; } ]);
    freeForm = result [ (with' { notYetTyped.inner = 1; }) ];
  };
  # What the lab asks for.
  host = if host == null then null else result ([ { services.pullnode = b.fromJSON host; } ] ++ lib.optionals secrets [ sops installs ]);
  sopsAlone = (evaluate [ sops installs ]).config.systemd.services.sops-install-secrets;
  # Each is refused by its type.
  refused = b.mapAttrs (_: settings: refused [ (with' settings) ]) {
    badDuration.schedule.interval = "soon";
    badOperation.operation = "swich";
    badIntroduction.introduction = lib.mkForce "4f2c9e1";
    tokenInStore.auth.tokenFile = "/nix/store/00000000000000000000000000000000-token";
    relativeToken.auth.tokenFile = "token";
    zeroRounds.health.successes = 0;
  };
  accepted = !refused [ { services.pullnode = minimal; } ];
  off = (evaluate [ ]).config.systemd.services or { };
}
