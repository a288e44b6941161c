# A system like NixOS' toplevel, without nixpkgs: units and files as text, a
# /bin/sh builder, nothing impure. It needs a Nix without sandbox, since it uses
# the machine's own shell and coreutils. Works on Nix 2.8 and newer.
{ host
, gen # any text; a new one makes a new system
, system ? "x86_64-linux"
, mode ? "good" # what is wrong with this system; see modes below
, units ? { } # "app.service" or "app.service.d/x.conf" = text
, etc ? { } # "pullnode/pullnode.json" = text; below /etc
, files ? { } # "site/index.html" = text; below the toplevel itself
, kernel ? "6.12" # another one asks for a reboot
, kernelParams ? "loglevel=4"
, tries ? "" # boots that a new boot entry is given; empty: it is not counted
, stc ? "/usr/lib/pullnode-lab/stc" # what stands in for switch-to-configuration
}:
let
  service = lines: ''
    [Service]
    ${lines}
    [Install]
    WantedBy=multi-user.target
  '';

  # What each mode adds. The modes that are not here are flags of build.sh.
  modes = {
    badunit."broken.service" = service "Type=oneshot\nExecStart=/bin/false";
    hangunit."hang.service" = service "Type=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity";
    slow."slow.service" = service "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 8";
    flap."flap.service" = service "ExecStart=/bin/sh -c 'sleep 2; exit 1'\nRestart=always\nRestartSec=1";
    badagent."pullnode.service.d/zz-bad.conf" = "[Service]\nExecStart=\nExecStart=/bin/false\n";
    # The old system stops the unit, which brings the network back.
    netcut."netcut.service" = service "Type=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/env ip link set host0 down\nExecStop=/usr/bin/env ip link set host0 up";
  };
  flags = [ "good" "badactivate" "initchange" "noagent" "badcheck" "strict" "badloader" "badinit" "sysconf" ];

  all = { "app.service" = service "Environment=GEN=${gen}\nExecStart=/bin/sleep infinity"; }
    // units // (modes.${mode} or { });
  isAgent = name: builtins.match "pullnode\\.service(\\.d/.*)?" name != null;
  wanted =
    if mode == "noagent"
    then removeAttrs all (builtins.filter isAgent (builtins.attrNames all))
    else all;

  # Texts go to the builder as files, by number: a name may hold any character.
  prefixed = prefix: set: builtins.listToAttrs
    (map (n: { name = prefix + n; value = set.${n}; }) (builtins.attrNames set));
  texts = prefixed "etc/systemd/system/" wanted // prefixed "etc/" etc // prefixed "" files;
  names = builtins.attrNames texts;
  numbered = builtins.genList
    (i: { name = "text${toString i}"; value = texts.${builtins.elemAt names i}; })
    (builtins.length names);

  # Store paths of their own, as on NixOS: their links show a change.
  image = name: builtins.toFile name "stands for ${name} of Linux ${kernel}\n";
in
assert modes ? ${mode} || builtins.elem mode flags || throw "no such mode: ${mode}";
derivation (builtins.listToAttrs numbered // {
  name = "nixos-system-${host}-${gen}";
  inherit system host gen mode kernelParams tries stc;
  builder = "/bin/sh";
  args = [ "-euc" (builtins.readFile ./build.sh) ];
  passAsFile = map (t: t.name) numbered;
  names = builtins.concatStringsSep "\n" names;
  kernel = image "bzImage";
  initrd = image "initrd";
  PATH = "/run/current-system/sw/bin:/usr/bin:/bin";
})
