# The functions of nixpkgs' lib that the module uses, for minilib.nix.
let
  b = builtins;
in
rec {
  inherit (b)
    attrNames
    concatMap
    elem
    filter
    isAttrs
    isList
    mapAttrs
    ;
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  optional = condition: v: if condition then [ v ] else [ ];
  optionals = condition: l: if condition then l else [ ];
  optionalAttrs = condition: s: if condition then s else { };
  optionalString = condition: s: if condition then s else "";
  filterAttrs =
    keep: set:
    b.listToAttrs (
      b.concatMap (name: if keep name set.${name} then [ { inherit name; value = set.${name}; } ] else [ ]) (
        b.attrNames set
      )
    );
  mapAttrsToList = f: set: map (name: f name set.${name}) (b.attrNames set);
  imap1 = f: list: b.genList (i: f (i + 1) (b.elemAt list i)) (b.length list);
  getExe = p: "${p}/bin/${p.meta.mainProgram}";
}
