# The types that the module uses, for minilib.nix. Descriptions are those of
# nixpkgs' types, so that docs/options.md is the same from both.
{
  strongest,
  mergeFree,
  evalTree,
  collect,
  optionsOf,
  below,
  allNames,
  lib,
}:
let
  b = builtins;
  simple = name: description: check: {
    _type = "option-type";
    inherit name description check;
    merge = mergeFree;
    getSubOptions = _: { };
  };
  inner = t: if t.composed or false then "(${t.description})" else t.description;
  absolute = v: b.isPath v || b.isString v && b.substring 0 1 v == "/";
  inStore = v: b.substring 0 11 (toString v) == "/nix/store/";
in
rec {
  bool = simple "bool" "boolean" b.isBool;
  int = simple "int" "signed integer" b.isInt;
  ints.unsigned = simple "unsignedInt" "unsigned integer, meaning >=0" (v: b.isInt v && v >= 0) // {
    composed = true;
  };
  ints.positive = simple "positiveInt" "positive integer, meaning >0" (v: b.isInt v && v > 0) // {
    composed = true;
  };
  str = simple "str" "string" b.isString;
  strMatching = pattern: simple "strMatching" "string matching the pattern ${pattern}" (v: b.isString v && b.match pattern v != null);
  package = simple "package" "package" (v: v ? outPath || absolute v);
  anything = simple "anything" "anything" (_: true);
  enum =
    values:
    simple "enum" "one of ${b.concatStringsSep ", " (map b.toJSON values)}" (v: b.elem v values)
    // {
      composed = true;
    };
  pathWith = _: simple "pathWith" "absolute path not in the Nix store" (v: absolute v && !inStore v);

  nullOr =
    t:
    simple "nullOr" "null or ${inner t}" (v: v == null || t.check v)
    // {
      composed = true;
    };
  listOf = t: {
    _type = "option-type";
    name = "listOf";
    description = "list of ${inner t}";
    getSubOptions = loc: t.getSubOptions (loc ++ [ "*" ]);
    check = v: b.isList v && b.all t.check v;
    merge =
      loc: vs:
      let
        all = b.concatLists (strongest vs);
      in
      b.genList (i: t.merge (loc ++ [ (toString i) ]) [ (b.elemAt all i) ]) (b.length all);
  };
  attrsOf = t: {
    _type = "option-type";
    name = "attrsOf";
    description = "attribute set of ${inner t}";
    getSubOptions = loc: t.getSubOptions (loc ++ [ "<name>" ]);
    check = v: b.isAttrs v && b.all t.check (b.attrValues v);
    merge =
      loc: vs:
      let
        at = n: b.concatMap (below n) vs;
      in
      b.listToAttrs (
        map (name: {
          inherit name;
          value = t.merge (loc ++ [ name ]) (at name);
        }) (b.filter (n: strongest (at n) != [ ]) (allNames vs))
      );
  };
  submodule =
    module:
    let
      modules = collect { inherit lib; } module;
      tree = optionsOf modules;
    in
    {
      _type = "option-type";
      name = "submodule";
      description = if b.any (m: m.free) modules then "open submodule of JSON value" else "submodule";
      composed = true;
      nested = true; # has a value without a definition
      check = b.isAttrs;
      merge = loc: vs: evalTree loc (b.any (m: m.free) modules) tree (vs ++ map (m: m.config) modules);
      getSubOptions = _: tree;
    };
}
