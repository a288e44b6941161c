# Every target sets up what it needs; on Debian as root with apt-get, after
# printing which packages, elsewhere it names them.
GO ?= go
VULNDB ?=
# Which tests of the lab; all by default.
LAB ?= .
# Which of them not.
LABSKIP ?=
# How long each fuzz target runs.
FUZZTIME ?= 10s

.PHONY: demo lab-demo test lint bench bench-trust fuzz hostile lab eval build go-check

demo: go-check
	$(GO) run ./internal/demo

# The same on a machine of its own, with the installed units and systemd.
lab-demo: go-check
	@sh .ci/needs lab
	$(GO) run ./internal/demo -lab

test: go-check
	@sh .ci/needs test
	$(GO) test -timeout 30m ./...
	GOEXPERIMENT=runtimesecret $(GO) test -run 'TestNoCopyOfTheKey|TestAgent' ./keysrc

lint: go-check
	VULNDB="$(VULNDB)" sh .ci/lint

bench: bench-trust
	$(GO) test -run '^$$' -bench . -benchtime 2s ./sync/fetch/...
	$(GO) test -run '^$$' -bench Resident -benchtime 50x ./cmd/pullnode

# The last line is how many times as long the whole rule takes as its signatures.
bench-trust: go-check
	@sh .ci/needs test
	@out=$$($(GO) test -run '^$$' -bench Trust -benchtime 1x ./sync) || { echo "$$out"; exit 1; }; \
	echo "$$out" | grep -v '^floor-ratio'; echo "$$out" | grep '^floor-ratio'

fuzz: go-check
	@sh .ci/needs test
	@GO="$(GO)" sh .ci/fuzz $(FUZZTIME)

# What a hostile server can do, each with the memory and the time that it costs.
hostile: go-check
	@sh .ci/needs test
	$(GO) test -count=1 -v -timeout 30m -run '^TestHostileServers$$' ./sync/fetch

lab: go-check
	@sh .ci/needs lab
	PULLNODE_LAB=1 $(GO) test -count=1 -timeout 60m -parallel 6 -run '$(LAB)' -skip '$(LABSKIP)' ./internal/lab/...

# The flake on real inputs, which lie in directories; needs Nix 2.18 or newer. With
# NIXPKGS alone: the module on nixpkgs' library.
eval: go-check
	@[ -n "$(NIXPKGS)" ] || { echo "usage: make eval NIXPKGS=dir [SOPS_NIX=dir DISKO=dir DEPLOY_RS=dir NIXOS_ANYWHERE=dir]"; exit 2; }
	NIXPKGS="$(NIXPKGS)" SOPS_NIX="$(SOPS_NIX)" DISKO="$(DISKO)" DEPLOY_RS="$(DEPLOY_RS)" NIXOS_ANYWHERE="$(NIXOS_ANYWHERE)" $(GO) test -count=1 -v -timeout 60m ./nix
	[ -z "$(SOPS_NIX)" ] || SOPS_NIX="$(SOPS_NIX)" $(GO) test -count=1 -v -timeout 30m -run TestSopsInstallSecrets ./keysrc

build: go-check
	GOEXPERIMENT=runtimesecret CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o pullnode ./cmd/pullnode

go-check:
	@sh .ci/needs go
