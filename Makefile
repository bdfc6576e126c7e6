# walkeep: what there is to make. `make help` lists it.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-builtin-rules
.SUFFIXES:

CACHE   := $(CURDIR)/.cache
BIN     := $(CACHE)/bin
PG      := integration/pg/node_modules
GATEWAY := $(CACHE)/versitygw
LINTERS := $(BIN)/depguard $(BIN)/gofumpt $(BIN)/staticcheck

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
SOURCES  = $$(find . -name '*.go' -not -path '*/node_modules/*' -not -path './.cache/*')

FUZZTIME ?= 30s

# The version is given by the linker; a checkout that git distrusts (another owner's) builds all the same.
export GOFLAGS := $(filter-out -buildvcs%,$(GOFLAGS)) -buildvcs=false

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## bin/walkeep, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/walkeep ./cmd/walkeep

.PHONY: demo
demo: build ## lose a database and get it back, with a real PostgreSQL
	@{ command -v pg_basebackup || compgen -G '/usr/lib/postgresql/*/bin/pg_basebackup' || compgen -G '/usr/pgsql-*/bin/pg_basebackup' || integration/tools/packages; } >/dev/null
	bin/walkeep demo

.PHONY: test
test: deps lint ## everything: static checks, every test with the race detector
	go test -race -timeout 25m ./...

.PHONY: check
check: deps lint ## static checks and the fast tests
	go test -short ./...

.PHONY: lint
lint: $(LINTERS)
	@unformatted=$$($(BIN)/gofumpt -l $(SOURCES)); if [ -n "$$unformatted" ]; then echo "gofumpt would change:"; echo "$$unformatted"; exit 1; fi
	go build ./...
	go vet ./...
	$(BIN)/staticcheck ./...
	$(BIN)/depguard -test=false ./...
	go mod tidy -diff

.PHONY: bench
bench: deps build ## measure walkeep against its promises
	go test -run '^$$' -bench . -benchtime 1x -timeout 2h ./integration/bench

.PHONY: torture
torture: deps ## the scenarios at full length: hours
	WALKEEP_TORTURE=1 go test -race -timeout 8h -v ./integration/...

.PHONY: matrix
matrix: deps ## the integration tests on PostgreSQL 13 to 18
	WALKEEP_MATRIX=1 go test -race -timeout 2h ./integration/...

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (30s)
	@for package in $$(grep -rl --include='*_test.go' '^func Fuzz' --exclude-dir=node_modules . | xargs -r -n1 dirname | sort -u); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: clean
clean: ## remove what was built; tools and servers stay
	rm -rf bin

# What tests need beside Go. Each is made once; when all is there this takes no time.

.PHONY: deps
deps: packages $(PG)/.complete $(GATEWAY) $(LINTERS) ## PostgreSQL, the S3 server and the tools that tests use

.PHONY: packages
packages:
	@integration/tools/packages

# PostgreSQL 13 to 18.
$(PG)/.complete: integration/pg/package-lock.json
	cd integration/pg && npm ci --ignore-scripts --no-audit --no-fund
	cd $(PG) && for major in pg*; do (cd $$major && node scripts/hydrate-symlinks.js); done
	touch $@

# The S3 server: two to three minutes, once.
$(GATEWAY): integration/tools/go.sum
	go build -C integration/tools -o $@ github.com/versity/versitygw/cmd/versitygw

$(BIN)/depguard: integration/tools/go.sum
	go build -C integration/tools -o $@ github.com/OpenPeeDeeP/depguard/v2/cmd/depguard

$(BIN)/gofumpt: integration/tools/go.sum
	go build -C integration/tools -o $@ mvdan.cc/gofumpt

$(BIN)/staticcheck: integration/tools/go.sum
	go build -C integration/tools -o $@ honnef.co/go/tools/cmd/staticcheck
