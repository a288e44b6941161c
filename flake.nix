{
  description = "pullnode: a NixOS machine at the newest commit that its operators signed";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    sops-nix = {
      url = "github:Mic92/sops-nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    disko = {
      url = "github:nix-community/disko";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    deploy-rs = {
      url = "github:serokell/deploy-rs";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    # Only its package is used, so what it is developed with is left out.
    nixos-anywhere = {
      url = "github:nix-community/nixos-anywhere";
      inputs = {
        nixpkgs.follows = "nixpkgs";
        disko.follows = "disko";
        nixos-stable.follows = "nixpkgs";
        nixos-images.follows = "";
        nix-vm-test.follows = "";
        treefmt-nix.follows = "";
      };
    };
  };

  outputs =
    inputs@{ self, nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});

      fleetLib = import ./nix/lib { inherit inputs; };
      fleet = fleetLib.mkFleet {
        hosts = ./hosts;
        environments = {
          staging = ./modules/environments/staging.nix;
          production = ./modules/environments/production.nix;
        };
        # For the repository of modules/repository.nix.
        installer = {
          operatorKeys = lib.concatLists (lib.attrValues (import ./modules/operators.nix));
          settings = import ./modules/repository.nix;
        };
      };
    in
    {
      inherit (fleet) nixosConfigurations deploy;

      lib = fleetLib;

      nixosModules = {
        pullnode = ./nix/module.nix;
        iso = ./nix/iso.nix;
        default = self.nixosModules.pullnode;
      };

      overlays.default = final: _prev: { pullnode = final.callPackage ./nix/package.nix { }; };

      packages = eachSystem (
        pkgs:
        rec {
          pullnode = pkgs.callPackage ./nix/package.nix { };
          # The same with the C library linked in dynamically.
          pullnode-linked = pkgs.callPackage ./nix/package.nix { static = false; };
          default = pullnode;
        }
        // fleet.packages.${pkgs.stdenv.hostPlatform.system}
      );

      apps = eachSystem (
        pkgs:
        import ./nix/apps.nix {
          inherit
            lib
            pkgs
            self
            inputs
            ;
        }
      );

      checks = eachSystem (
        pkgs:
        import ./nix/checks {
          inherit
            lib
            pkgs
            self
            fleet
            ;
        }
      );

      templates.default = {
        path = ./templates/default;
        description = "A repository of machines that pullnode keeps up to date";
      };

      devShells = eachSystem (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs inputs; };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
