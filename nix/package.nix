{
  lib,
  buildGoModule,
  versionCheckHook,
  static ? true,
}:

buildGoModule (finalAttrs: {
  pname = "pullnode";
  version = "0.1.0-dev";

  # Only what the binary is made of. A commit that changes hosts, documents or
  # Nix files must not make another binary, or it would switch every machine.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../go.mod
      ../go.sum
      ../activate
      ../cmd
      ../internal
      ../keysrc
      ../sync
      ./units
    ];
  };

  # The hash of what `go mod vendor` writes. TestVendorHash computes it anew and
  # says which line to write here after go.mod was changed.
  vendorHash = "sha256-dIBH+Nleej5GEfbPum3O9x4FIFuMU80eXJTbiF5JYW0=";

  subPackages = [ "cmd/pullnode" ];
  env.CGO_ENABLED = if static then 0 else 1;
  # Copies of a key that are made while it is used are overwritten at once.
  env.GOEXPERIMENT = "runtimesecret";
  ldflags = [
    "-s"
    "-w"
  ];

  # They need sshd, Nix and a Git server of their own: `make test`.
  doCheck = false;

  postInstall = ''
    ln -s pullnode $out/bin/age-plugin-pullnode
    mkdir -p $out/lib/systemd/system
    for unit in nix/units/*.service nix/units/*.socket nix/units/*.target; do
      substitute "$unit" "$out/lib/systemd/system/''${unit##*/}" \
        --replace-quiet "=pullnode " "=$out/bin/pullnode "
    done
  '';

  nativeInstallCheckInputs = [ versionCheckHook ];
  versionCheckProgramArg = "version";
  doInstallCheck = true;

  meta = {
    description = "Keeps a NixOS machine at the newest commit that its operators signed";
    license = lib.licenses.asl20;
    mainProgram = "pullnode";
    platforms = lib.platforms.linux;
  };
})
