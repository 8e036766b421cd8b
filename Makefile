# `make` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 20s
BENCH ?=
KILLS ?= 60
SEED ?= 0
HTMX ?= 2.0.11

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## see the whole road, with a sandbox Retool; Ctrl-C ends it
	@go run ./cmd/usher demo

.PHONY: build
build: ## build the static binary: bin/usher
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.buildVersion=$(VERSION)" -o bin/usher ./cmd/usher

.PHONY: test
test: ## vet and test with the race detector; installs what that needs
	@scripts/need.sh gcc stripe-mock node axe postgres browser
	go vet ./...
	STRIPE_MOCK="$$(ls $(CURDIR)/bin/stripe-mock 2>/dev/null || true)" POSTGRES_BIN="$$(scripts/need.sh postgres-bin)" CHROMIUM="$$(scripts/need.sh browser-bin)" CGO_ENABLED=1 go test -race -shuffle=on -p 3 ./...
	CHROMIUM="$$(scripts/need.sh browser-bin)" go test ./internal/onboarding ./handlers ./cmd/usher -run 'ForHours|ADayOf|AmongMany|TenThousand' # too slow under the race detector

.PHONY: lint
lint: ## formatting, go.mod and golangci-lint
	@scripts/need.sh golangci-lint
	@unformatted=$$(find . -name '*.go' -not -path './.*/*' -exec gofmt -l {} +); if [ -n "$$unformatted" ]; then printf 'gofmt these files:\n%s\n' "$$unformatted"; exit 1; fi
	go mod tidy -diff
	bin/golangci-lint run ./...

.PHONY: bench
bench: ## measure, in about an hour (BENCH="-quick" or "-only burst" for less); see docs/benchmarks.md
	./bench/run.sh $(BENCH)

.PHONY: crash
crash: ## kill Usher and Postgres KILLS (60) times each under load; see docs/crash.md
	@scripts/need.sh postgres
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	CGO_ENABLED=0 go build -o "$$folder/usher" ./cmd/usher; \
	POSTGRES_BIN="$$(scripts/need.sh postgres-bin)" go test ./cmd/usher -run '^TestCrash' -count=1 -v -timeout 60m \
		-crash.usher "$$folder/usher" -crash.kills $(KILLS) -crash.seed $(SEED)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (20s)
	@grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' . | sed -E 's/^(.*)\/[^\/]*_test\.go:func (Fuzz[A-Za-z0-9_]*)\(.*/\1 \2/' | sort | \
	while read -r folder name; do \
		echo "$$folder $$name"; \
		go test "$$folder" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x; \
	done

.PHONY: tidy
tidy: ## format the code and tidy go.mod
	gofmt -w .
	go mod tidy

.PHONY: screenshots
screenshots: ## take the pictures of the pages in docs/screenshots
	@scripts/need.sh axe browser
	@mkdir -p docs/screenshots
	CHROMIUM="$$(scripts/need.sh browser-bin)" CI=true go test ./cmd/usher -run '^TestScreenshots$$' -count=1 -screenshots "$(CURDIR)/docs/screenshots"

.PHONY: htmx
htmx: ## bring htmx HTMX (2.0.11) from npm to handlers/static
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	npm pack --silent --pack-destination "$$folder" "htmx.org@$(HTMX)" >/dev/null; \
	tar -xzf "$$folder/htmx.org-$(HTMX).tgz" -C "$$folder" package/dist/htmx.min.js; \
	install -m 644 "$$folder/package/dist/htmx.min.js" handlers/static/htmx.min.js
	@sed -i.old 's/ [0-9.]* *, `dist/ $(HTMX), `dist/' handlers/static/README.md && rm handlers/static/README.md.old

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist coverage.out usher
