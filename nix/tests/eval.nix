# What `make eval` asserts, as JSON: the real flake on the real inputs.
{
  nixpkgs,
  sops-nix,
  disko,
  deploy-rs,
  nixos-anywhere,
  # A copy of this repository in which only documents differ.
  twin,
  # A copy without the example.
  lean,
}@args:
let
  inputs = removeAttrs args [
    "twin"
    "lean"
  ];
  real = source: import ./real.nix (inputs // { inherit source; });
  flake = real ../..;
  other = real twin;
  without = real lean;
  inherit (flake.inputs.nixpkgs) lib;

  toplevel = nixos: nixos.config.system.build.toplevel.drvPath;
  drvPaths = lib.mapAttrs (_: d: d.drvPath);

  # sops-nix on a host that has it, with and without pullnode: no option differs.
  existing =
    modules:
    (flake.inputs.nixpkgs.lib.nixosSystem {
      modules = modules ++ [
        flake.inputs.sops-nix.nixosModules.sops
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          boot.loader.grub.enable = false;
          fileSystems."/" = {
            device = "/dev/vda";
            fsType = "ext4";
          };
          services.openssh.enable = true;
          sops.defaultSopsFile = ../../hosts/example/secrets.yaml;
          sops.secrets.greeting = { };
          system.stateVersion = "26.05";
        }
      ];
    }).config.sops;
  # Packages and functions have no value in JSON.
  comparable = sops: {
    inherit (sops)
      age
      gnupg
      defaultSopsFile
      keepGenerations
      useSystemdActivation
      validateSopsFiles
      ;
    secrets = lib.mapAttrs (_: s: removeAttrs s [ "_module" ]) sops.secrets;
  };
  withPullnode = {
    imports = [ flake.nixosModules.pullnode ];
    services.pullnode = {
      enable = true;
      settings = {
        url = "https://git.example.org/infra.git";
        introduction = "4f2c9e16fd807b096b48283debdcddccfea34bad@SHA256:9fXqYYds7uXWxH79aI0Wu1dP3cQ5mE8rT2kB6nLvZlQ";
      };
    };
  };

  # What the settings in an image name, looked up in the flake: names in it have no dots.
  followed =
    name: format:
    let
      image = flake.nixosConfigurations.${name}.config.system.build.images.${format};
      inherit (image.passthru) config;
      path = lib.splitString "." (lib.replaceStrings [ "\"" ] [ "" ] config.services.pullnode.settings.attr);
    in
    {
      image = toplevel image.passthru;
      follows = (lib.getAttrFromPath path flake).drvPath;
      disk = config.fileSystems."/".device;
    };

  # The machine of the VM tests, and what it switches to.
  following =
    (flake.inputs.nixpkgs.legacyPackages.x86_64-linux.testers.runNixOSTest {
      name = "following";
      nodes.machine = ../checks/following.nix;
      testScript = "";
    }).nodes.machine;
  unitTexts = config: lib.mapAttrs (_: u: builtins.unsafeDiscardStringContext u.text) config.systemd.units;
  mounts = lib.mapAttrs (_: f: { inherit (f) device fsType options; });

  # A repository that takes this one as its flake input.
  template = (import ../../templates/default/flake.nix).outputs {
    inherit (flake.inputs) nixpkgs;
    pullnode = flake;
  };
in
{
  kexec = flake.packages.x86_64-linux.installer-kexec.buildCommand;
  template = {
    hosts = lib.mapAttrs (_: toplevel) { inherit (template.nixosConfigurations) web01; };
    checks = drvPaths (removeAttrs template.checks.x86_64-linux [ "evaluates-installer-x86_64-linux" ]);
    outputs = {
      inherit (template.deploy.nodes.web01) hostname;
      packages = lib.attrNames template.packages.x86_64-linux;
      installer = template.nixosConfigurations.installer-x86_64-linux.config.services.pullnode-installer.settings.url;
      apps = lib.attrNames template.apps.x86_64-linux;
      shells = lib.attrNames template.devShells.aarch64-linux;
      formatter = template.formatter.aarch64-linux.drvPath;
    };
  };
  hosts = lib.mapAttrs (_: toplevel) flake.nixosConfigurations;
  twins = lib.mapAttrs (_: toplevel) other.nixosConfigurations;
  # One image of each kind; each is an evaluation of a whole NixOS.
  packages = {
    x86_64-linux = drvPaths {
      inherit (flake.packages.x86_64-linux)
        pullnode
        pullnode-linked
        installer-iso
        installer-kexec
        web-staging-raw-efi
        ;
    };
    aarch64-linux = drvPaths { inherit (flake.packages.aarch64-linux) pullnode minimal-sd-card; };
  };
  images = {
    minimal-sd-card = followed "minimal" "sd-card";
    web-staging-raw-efi = followed "web-staging" "raw-efi";
  };
  # Drivers of virtual disks, for the machines whose hardware nobody has described.
  findsVirtualDisks = lib.mapAttrs (
    _: nixos: lib.elem "virtio_blk" nixos.config.boot.initrd.availableKernelModules
  ) flake.nixosConfigurations;
  # deploy-rs' checks build what they look at: each is asked where it can be built.
  activateChecks = lib.mapAttrs (_: checks: checks.deploy-activate.buildCommand) flake.checks;
  vmTests = lib.mapAttrs (
    _: s:
    let
      next = s.configuration;
    in
    {
      sameMounts = mounts following.fileSystems == mounts next.fileSystems;
      changedUnits = lib.filter (n: (unitTexts next).${n} or null != (unitTexts following).${n} or null) (
        lib.attrNames (unitTexts following // unitTexts next)
      );
      switches = following.system.switch.enable && next.system.switch.enable;
    }
  ) following.specialisation;
  checks = drvPaths (lib.filterAttrs (name: _: lib.hasPrefix "vm-" name) flake.checks.x86_64-linux);
  shell = flake.devShells.x86_64-linux.default.drvPath;
  apps = lib.mapAttrs (_: a: a.program) flake.apps.x86_64-linux;
  disko = lib.mapAttrs (_: nixos: nixos.config.system.build.diskoScript.drvPath) (
    lib.filterAttrs (_: nixos: nixos.config.disko.devices.disk or { } != { }) flake.nixosConfigurations
  );
  deploy = builtins.fromJSON (builtins.unsafeDiscardStringContext (builtins.toJSON flake.deploy));
  deployChecks = drvPaths {
    inherit (flake.checks.x86_64-linux) deploy-schema deploy-activate;
    arm-schema = flake.checks.aarch64-linux.deploy-schema;
  };
  lean = {
    hosts = lib.attrNames without.nixosConfigurations;
    apps = lib.mapAttrs (_: a: a.program) without.apps.x86_64-linux;
    checks = lib.attrNames without.checks.x86_64-linux;
  };
  sopsAlone = comparable (existing [ ]);
  sopsBeside = comparable (existing [ withPullnode ]);
}
