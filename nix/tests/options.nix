# docs/options.md, from the module's options. TestOptionsDocument compares it.
{ lib, options }:
let
  b = builtins;

  # A value as Nix.
  show =
    v:
    if b.isAttrs v && v._type or null == "literalExpression" then
      v.text
    else if b.isAttrs v && v ? outPath then
      toString v
    else if b.isAttrs v then
      if v == { } then
        "{ }"
      else
        "{ " + b.concatStringsSep "" (map (n: "${quoteName n} = ${show v.${n}}; ") (b.attrNames v)) + "}"
    else if b.isList v then
      if v == [ ] then "[ ]" else "[ " + b.concatStringsSep " " (map show v) + " ]"
    else
      b.toJSON v;
  quoteName = n: if b.match "[A-Za-z_][A-Za-z0-9_-]*" n != null then n else b.toJSON n;

  trim =
    text:
    let
      m = b.match "(.*[^\n])\n*" text;
    in
    if m == null then text else b.head m;
  field =
    name: text:
    if b.match ".*\n.*" text == null then
      "* ${name}: `${text}`\n"
    else
      "* ${name}:\n\n```nix\n${trim text}\n```\n";

  entry =
    loc: o:
    "## ${b.concatStringsSep "." (map quote loc)}\n\n"
    + "${trim o.description}\n\n"
    + field "type" o.type.description
    + (
      if o ? defaultText then
        field "default" (show o.defaultText)
      else if o ? default then
        field "default" (show o.default)
      else
        ""
    )
    + (if o ? example then field "example" (show o.example) else "")
    + "\n";
  quote = n: if n == "*" || n == "<name>" then n else quoteName n;

  walk =
    loc: tree:
    b.concatStringsSep "" (
      map (
        n:
        let
          o = tree.${n};
          at = loc ++ [ n ];
          # What a list or set has inside is named by the type.
          sub = o.type.getSubOptions [ ];
          inside =
            if b.match "list of.*" o.type.description != null then
              [ "*" ]
            else if b.match "attribute set of.*" o.type.description != null then
              [ "<name>" ]
            else
              [ ];
        in
        if o._type or null == "option" then
          entry at o + walk (at ++ inside) sub
        else
          walk at o
      ) (b.filter (n: b.substring 0 1 n != "_") (b.attrNames tree))
    );
in
''
  # Options of the NixOS module

  Made from nix/module.nix by `go test ./nix -run TestOptionsDocument -update`.

''
+ walk [ "services" "pullnode" ] options.services.pullnode
