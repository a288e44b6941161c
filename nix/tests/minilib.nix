# A small library of modules, enough to evaluate nix/module.nix where there is no
# nixpkgs. It is not NixOS: it tells that the module evaluates, that types and
# defaults fit, and what would be set. `make eval NIXPKGS=dir` is the real thing.
#
# A definition is { prio, value }. Conditions are only read when the value is
# wanted; the names below a definition are known without them.
let
  b = builtins;
  is = tag: v: b.isAttrs v && v._type or null == tag;
  plain = v: b.isAttrs v && !(v ? _type) && !(v ? outPath);
  merge = b.foldl' (a: c: a // c) { };
  showLoc = b.concatStringsSep ".";

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = prio: content: {
    _type = "override";
    inherit prio content;
  };
  mkOption = o: o // { _type = "option"; };

  # What `v` defines, each with its priority.
  definitions =
    v:
    if is "if" v then
      (if v.condition then definitions v.content else [ ])
    else if is "merge" v then
      b.concatMap definitions v.contents
    else if is "override" v then
      map (d: d // { inherit (v) prio; }) (definitions v.content)
    else
      [
        {
          prio = 100;
          value = v;
        }
      ];
  strongest =
    vs:
    let
      ds = b.concatMap definitions vs;
      best = b.foldl' (a: d: if d.prio < a then d.prio else a) 10000 ds;
    in
    map (d: d.value) (b.filter (d: d.prio == best) ds);

  # The part `name` of a definition, with its conditions around it.
  below =
    name: v:
    if is "if" v || is "override" v then
      map (content: v // { inherit content; }) (below name v.content)
    else if is "merge" v then
      b.concatMap (below name) v.contents
    else if plain v && v ? ${name} then
      [ v.${name} ]
    else
      [ ];
  namesOf =
    v:
    if is "if" v || is "override" v then
      namesOf v.content
    else if is "merge" v then
      merge (map namesOf v.contents)
    else if plain v then
      b.mapAttrs (_: _: null) v
    else
      { };
  allNames = vs: b.attrNames (merge (map namesOf vs));

  # No declared type: sets are merged, lists joined, all else must agree.
  mergeFree =
    loc: vs:
    let
      found = strongest vs;
      first = b.head found;
      defined = b.filter (n: strongest (b.concatMap (below n) vs) != [ ]) (allNames vs);
    in
    if plain first then
      b.listToAttrs (
        map (name: {
          inherit name;
          value = mergeFree (loc ++ [ name ]) (b.concatMap (below name) vs);
        }) defined
      )
    else if b.isList first then
      b.concatLists found
    else if b.all (v: v == first) found then
      first
    else
      throw "the option `${showLoc loc}' has conflicting definitions";

  evalOption =
    loc: option: vs:
    let
      found = strongest vs;
      value = option.type.merge loc vs;
    in
    if !(option ? description && option ? type) then
      throw "the option `${showLoc loc}' has no type or no description"
    else if found == [ ] && !(option.type.nested or false) then
      option.default or (throw "the option `${showLoc loc}' has no value")
    else if option.type.check value then
      value
    else
      throw "the option `${showLoc loc}' is not of type ${option.type.description}";

  # Values of a tree of options; `free` lets in what no option declares. At the top
  # nobody reads all names, and to ask each whether it is defined would go in circles.
  evalTree =
    loc: free: tree: vs:
    let
      at = n: b.concatMap (below n) vs;
      others = b.filter (n: !(tree ? ${n})) (allNames vs);
      declared = b.mapAttrs (
        n: sub:
        if is "option" sub then evalOption (loc ++ [ n ]) sub (at n) else evalTree (loc ++ [ n ]) false sub (at n)
      ) tree;
      undeclared = b.listToAttrs (
        map (name: {
          inherit name;
          value = mergeFree (loc ++ [ name ]) (at name);
        }) (if loc == [ ] then others else b.filter (n: strongest (at n) != [ ]) others)
      );
    in
    if free then
      undeclared // declared
    else if others != [ ] then
      throw "the option `${showLoc (loc ++ [ (b.head others) ])}' does not exist"
    else
      declared;

  collect =
    args: module:
    let
      m = if b.isPath module then import module else module;
      body = if b.isFunction m then m args else m;
      config =
        if body ? config || body ? options then
          body.config or { }
        else
          removeAttrs body [
            "imports"
            "freeformType"
          ];
    in
    [
      {
        options = body.options or { };
        inherit config;
        free = body ? freeformType;
      }
    ]
    ++ b.concatMap (collect args) (body.imports or [ ]);

  joinTrees = b.foldl' (
    a: c:
    a
    // b.mapAttrs (
      n: v: if a ? ${n} && plain a.${n} && plain v then joinTrees [ a.${n} v ] else v
    ) c
  ) { };

  optionsOf = modules: joinTrees (map (m: m.options) modules);

  lib = import ./minilib-functions.nix // {
    inherit mkIf mkMerge mkOption;
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkEnableOption =
      what:
      mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };
    inherit types;

    # `free` top-level names need no option, as `environment` here.
    evalModules =
      {
        modules,
        specialArgs ? { },
      }:
      let
        args = specialArgs // {
          inherit lib config options;
        };
        collected = b.concatMap (collect args) modules;
        options = optionsOf collected;
        config = evalTree [ ] true options (map (m: m.config) collected);
      in
      {
        inherit config options;
      };
  };

  types = import ./minilib-types.nix {
    inherit
      strongest
      mergeFree
      evalTree
      collect
      optionsOf
      below
      allNames
      lib
      ;
  };
in
lib
