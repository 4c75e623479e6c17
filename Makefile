# Empty here, so that a HOST or PORT that happens to be exported does not steer the daemon.
MODEL =
HOST =
PORT =
ARGS =

.PHONY: help serve test check fix build

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

serve: ## install, then serve; MODEL=path PORT=8081 HOST=0.0.0.0 ARGS="--parallel 4"
	@scripts/serve $${HOST:+--host "$$HOST"} $${PORT:+--port "$$PORT"} $(ARGS) $${MODEL:+"$$MODEL"}

test: ## install, then run the whole test suite; ARGS="-k name" for some of it
	@scripts/test $(ARGS)

check: ## lint, format and types
	@scripts/check

fix: ## format, and repair what the linter can
	@scripts/fix

build: ## a wheel, in dist/
	@scripts/build
