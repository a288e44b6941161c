# A NixOS system, built anew. The machine of the VM tests has it in its store already,
# as a specialisation of itself, and no network to get from anywhere what a whole build
# needs. So its toplevel is copied, and made to speak of its new place: that is a build
# like any other to pullnode, and the same NixOS to switch-to-configuration.
let
  tools = builtins.fromJSON (builtins.readFile ./tools.json);
  # What lies in the store is used by its path, also where evaluation is pure.
  present = path: builtins.appendContext path { ${path}.path = true; };
  bin = name: present tools.${name} + "/bin";
  old = builtins.fromJSON (builtins.readFile ./system.json);
in
derivation {
  # Of the same length, so that paths in binaries may be changed too.
  name = builtins.substring (builtins.stringLength builtins.storeDir + 34) (-1) old;
  inherit (tools) system;
  old = present old;
  PATH = builtins.concatStringsSep ":" (
    map bin [
      "coreutils"
      "findutils"
      "sed"
    ]
  );
  builder = bin "bash" + "/bash";
  args = [
    "-euc"
    ''
      cp -dr --preserve=mode "$old" "$out"
      chmod -R u+w "$out"
      find "$out" -type f -exec sed -i "s|$old|$out|g" {} +
      # Nix kills what has closed its output, as find does before it ends: the last is
      # the shell itself.
      exit 0
    ''
  ];
}
