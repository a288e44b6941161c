# Every target sets up what it needs; on Debian as root with apt-get, after
# printing which packages, elsewhere it names them.
GO ?= go
VULNDB ?=
# Which tests of the lab; all by default.
LAB ?= .

.PHONY: demo lab-demo test lint bench lab build go-check

demo: go-check
	$(GO) run ./internal/demo

# The same on a machine of its own, with the installed units and systemd.
lab-demo: go-check
	@sh .ci/needs lab
	$(GO) run ./internal/demo -lab

test: go-check
	@sh .ci/needs test
	$(GO) test ./...

lint: go-check
	VULNDB="$(VULNDB)" sh .ci/lint

bench: go-check
	@sh .ci/needs test
	$(GO) test -run '^$$' -bench . -benchtime 2s ./sync/...

lab: go-check
	@sh .ci/needs lab
	PULLNODE_LAB=1 $(GO) test -count=1 -timeout 40m -run '$(LAB)' ./internal/lab/...

build: go-check
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o pullnode ./cmd/pullnode

go-check:
	@sh .ci/needs go
