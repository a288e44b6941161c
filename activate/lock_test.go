package activate

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

const hash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// locks are lock files by what is said of them; "" is none at fault.
var locks = map[string]string{
	`{"nodes":{"root":{}},"root":"root","version":7}`: "",
	`{"nodes":{"nixpkgs":{"locked":{"lastModified":1,"narHash":"` + hash + `","owner":"NixOS","repo":"nixpkgs","rev":"0","type":"github"},"original":{"id":"nixpkgs","type":"indirect"}},"root":{"inputs":{"nixpkgs":"nixpkgs"}}},"root":"root","version":7}`: "",
	`{"nodes":{"sub":{"locked":{"path":"./sub","type":"path"},"original":{"path":"./sub","type":"path"},"parent":[]},"root":{"inputs":{"sub":"sub","x":["sub","y"]}}},"root":"root","version":7}`:                                                             "",
	`{"nodes":{"a":{"locked":{"type":"github"}},"root":{}},"root":"root"}`:                                                                       "no narHash",
	`{"nodes":{"a":{"locked":{"type":"tarball","narHash":"sha256-x"}},"root":{}},"root":"root"}`:                                                 "no SHA-256",
	`{"nodes":{"a":{"locked":{"type":"tarball","narHash":"sha256-AA\rAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},"root":{}},"root":"root"}`: "no SHA-256",
	`{"nodes":{"a":{},"root":{}},"root":"root"}`:                                                                                                 "not locked",
	`{"nodes":{"a":{"locked":{"type":"indirect","narHash":"` + hash + `"}},"root":{}},"root":"root"}`:                                            "in a registry",
	`{"nodes":{"a":{"locked":{"type":"path","path":"/etc"}},"root":{}},"root":"root"}`:                                                           "outside of the repository",
	`{"nodes":{"a":{"locked":{"type":"path","path":"../x"},"parent":[]},"root":{}},"root":"root"}`:                                               "outside of the repository",
	`{"nodes":{"a":{"locked":{"type":"path","path":"x"}},"root":{}},"root":"root"}`:                                                              "outside of the repository",
	`{"nodes":{"a":{"locked":{"type":"git","url":"file:///etc","narHash":"` + hash + `"}},"root":{}},"root":"root"}`:                             "local file",
	`{"nodes":{"root":{}},"root":"other"}`:                                                                                                       "no root",
	`{}`:                                                                                                                                         "no root",
	`[]`:                                                                                                                                         "no root",
	``:                                                                                                                                           "unexpected EOF",
	`{"nodes":{"root":{}},"root":"root"}{}`:                                                                                                      "more after its end",
	`{"nodes":{"root":{}},"root":"root","a":"` + "\xff" + `"}`:                                                                                   "not UTF-8",
	`{"nodes":{"root":{}},"root":"root","root":"root"}`:                                                                                          `"root" is there twice`,
	`{"nodes":{"a":{"locked":{"narHash":"` + hash + `"},"locked":{"type":"tarball","url":"http://x"}},"root":{}},"root":"root"}`:           `"locked" is there twice`,
	`{"nodes":{"a":{"locked":{"type":"path","path":"/etc"}},"root":{}},"root":"root","Nodes":{"a":{"locked":{"narHash":"` + hash + `"}}}}`: "outside of the repository",
	`{"nodes":{"a":{"locked":{"narHash":"` + hash + `","type":"indirect","Type":"github"}},"root":{}},"root":"root"}`:                      "in a registry",
	`{"nodes":{"\ud800":{"locked":{"narHash":"` + hash + `"}},"\ud801":{},"root":{}},"root":"root"}`:                                       "is there twice",
	`{"nodes":{"root":{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}},"root":"root"}`:                                 "nested deeper",
	`{"nodes":{"root":{}},"root":"root"}` + strings.Repeat(" ", maxLock):                                                                   "is over",
}

func TestLintLock(t *testing.T) {
	for raw, say := range locks {
		_, err := lintLock([]byte(raw))
		if (err == nil) != (say == "") || err != nil && !strings.Contains(err.Error(), say) {
			t.Errorf("%.200s: %v, want %q", raw, err, say)
		}
	}
}

// What is taken pins every input for a reader that knows JSON only as its
// standard has it, and is refused once one input more is not pinned.
func FuzzLintLock(f *testing.F) {
	for raw := range locks {
		if len(raw) < 1<<20 {
			f.Add([]byte(raw))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		inputs, err := lintLock(raw)
		if err != nil {
			return
		}
		var lock map[string]json.RawMessage
		var root string
		var nodes map[string]map[string]any
		if json.Unmarshal(raw, &lock) != nil || json.Unmarshal(lock["root"], &root) != nil || json.Unmarshal(lock["nodes"], &nodes) != nil {
			t.Fatalf("taken, and no lock file: %q", raw)
		}
		if inputs != (len(nodes) > 1) {
			t.Errorf("inputs %v of %d nodes", inputs, len(nodes))
		}
		for name, n := range nodes {
			locked, _ := n["locked"].(map[string]any)
			nar, _ := locked["narHash"].(string)
			if name != root && len(nar) != len(hash) && locked["type"] != "path" {
				t.Errorf("%q is taken without a hash: %q", name, raw)
			}
		}
		more := maps.Clone(nodes)
		more[root+"x"] = map[string]any{"locked": map[string]any{"type": "tarball", "url": "https://example.org/x"}}
		all, err := json.Marshal(map[string]any{"root": root, "nodes": more})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lintLock(all); err == nil {
			t.Errorf("an input without a hash is taken: %q", all)
		}
	})
}
