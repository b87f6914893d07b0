# DOVE. `make demo` shows the system at work, `make test` runs everything that must pass.
.DEFAULT_GOAL := help
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

.PHONY: help build setup demo test lossless real-faults truth-tables random walks sim faults generate clean

help: ## show the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the programs into bin/
	$(GO) build -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

setup: ## install the Debian packages that tests and demo need
	@scripts/setup

demo: build ## two tenants, three hosts, real connections (needs root, about a minute)
	@scripts/setup demo
	@bin/dovelab demo

test: setup build ## everything that must pass: the gate with the privileged set
	@scripts/gate

lossless: build ## 100 restarts, 100 policy edits, 100 changes of groups, 100 moves of a guest and 50 edits of 10,000 rules under 10,000 packets/s: none may be lost (root, some minutes)
	@scripts/setup demo
	@bin/dovelab lossless --restarts 100 --edits 100 --group-edits 100 --moves 100 --dpc-restarts 10
	@bin/dovelab lossless --restarts 0 --edits 0 --group-edits 0 --moves 0 --dpc-restarts 0 --large-edits 50

real-faults: build ## three members and three hosts: kill, stop, cut, slow and full disks, one at a time and two at once, under load (root, a quarter of an hour)
	@scripts/setup demo
	@mkdir -p results
	@bin/dovelab trial --json results/real-faults.json

truth-tables: build ## the truth tables that cyclonus makes of Kubernetes policies, each cell as packet, as verdict of the DPC and of dSwitches (root, some minutes)
	@scripts/setup demo
	cd conformance/cyclonus && $(GO) run . -bin ../../bin -results ../../results/truth-tables.json

N ?= 100000
random: setup ## ask oracle, tables and two eBPF switches about N=100000 packets in random worlds, of seeds from SEED=n on (root, a million in half a minute)
	SEED=$(SEED) $(GO) test -count=1 -timeout 0 -v -run 'TestWorlds$$' ./dataplane/ebpf -packets $(N)

WORLDS ?= 40
walks: ## WORLDS=40 random worlds, held against the oracle while they change and move, of seeds from SEED=n on (two minutes)
	$(GO) test -count=1 -timeout 0 -v -run 'Agree|Walks|NothingIsLost' ./sim -worlds $(WORLDS) -seed $(or $(SEED),$(shell date +%s%N))

RUNS ?= 100
sim: build ## RUNS=100 fleets in virtual time in which everything goes wrong, of seeds from SEED=n on (some minutes)
	@bin/dovelab sim --seeds $(RUNS) --seed $(or $(SEED),0) --hosts 40 --steps 500

faults: setup ## put mistakes into the eBPF programs and the conversation, one at a time: tests must notice each (root, about an hour)
	$(GO) test -count=1 -timeout 0 -v -run 'TestFaults$$' ./dataplane/ebpf -faults
	$(GO) test -count=1 -timeout 0 -v -run 'TestFaults$$' ./sim/fleet -faults

generate: setup ## rebuild every generated file
	$(GO) generate ./...

clean: ## remove what was built and any lab left behind
	-[ ! -x bin/dovelab ] || bin/dovelab down --all
	rm -rf bin results
