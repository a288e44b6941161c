package lab

import (
	_ "embed"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
)

//go:embed site/toplevel.nix
var toplevelNix string

//go:embed site/build.sh
var buildSh string

// Config describes one host's system. The zero value is a good one.
type Config struct {
	Gen  string // any text, part of the system's name; a new one makes a new system
	Mode string // what is wrong with it, see site/toplevel.nix; "good" when empty
	// Units are unit files and drop-ins: "app.service" or
	// "app.service.d/x.conf" -> text. [Install] sections are obeyed, and
	// @toplevel@ stands for the system's store path.
	Units map[string]string
	Etc   map[string]string // below /etc -> text
	Files map[string]string // below the toplevel itself -> text
	Args  map[string]string // more arguments of site/toplevel.nix: kernel, tries, stc, ...
}

// FlakeFiles gives the files, path -> content, of a configuration repository
// with one host: a flake without inputs whose
// nixosConfigurations.<host>.config.system.build.toplevel is c's system. It
// needs no nixpkgs, no network and no flake.lock; Nix must not use a sandbox.
// Files of several hosts may be joined, except for flake.nix, which finds every
// directory below hosts/ by itself and is the same in all.
func FlakeFiles(host string, c Config) map[string]string {
	dir := "hosts/" + host + "/"
	files := map[string]string{
		"flake.nix":        flakeNix,
		"lab/toplevel.nix": toplevelNix,
		"lab/build.sh":     buildSh,
	}
	var b strings.Builder
	b.WriteString("# One machine of the lab; lab/toplevel.nix says what may stand here.\n{\n")
	args := map[string]string{"host": host, "gen": "1", "system": NixSystem()}
	maps.Copy(args, c.Args)
	if c.Gen != "" {
		args["gen"] = c.Gen
	}
	if c.Mode != "" {
		args["mode"] = c.Mode
	}
	for _, k := range slices.Sorted(maps.Keys(args)) {
		fmt.Fprintf(&b, "  %s = %s;\n", k, nixString(args[k]))
	}
	for _, part := range []struct {
		name  string
		texts map[string]string
	}{{"units", c.Units}, {"etc", c.Etc}, {"files", c.Files}} {
		fmt.Fprintf(&b, "  %s = {\n", part.name)
		for _, k := range slices.Sorted(maps.Keys(part.texts)) {
			// A file of its own for each text, so that commits read well. Not a
			// path literal: those may not hold every character.
			files[dir+path.Join(part.name, k)] = part.texts[k]
			fmt.Fprintf(&b, "    %s = builtins.readFile (./. + %s);\n", nixString(k), nixString("/"+path.Join(part.name, k)))
		}
		b.WriteString("  };\n")
	}
	b.WriteString("}\n")
	files[dir+"default.nix"] = b.String()
	return files
}

const flakeNix = `{
  description = "machines of the lab";

  outputs = { self }: {
    nixosConfigurations = builtins.mapAttrs
      (host: _: {
        config.system.build.toplevel = import ./lab/toplevel.nix (import (./hosts + "/${host}"));
      })
      (builtins.readDir ./hosts);
  };
}
`

// nixString writes a Nix string literal.
func nixString(s string) string {
	r := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\${`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	return `"` + r.Replace(s) + `"`
}

// NixSystem is what Nix calls this machine's architecture.
func NixSystem() string {
	arch, ok := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686"}[runtime.GOARCH]
	if !ok {
		arch = runtime.GOARCH
	}
	return arch + "-linux"
}
