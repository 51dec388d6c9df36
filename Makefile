# Everything a developer runs. `make up` and `make test` do all the set-up themselves and can be run twice.
.PHONY: up down test unit integration e2e lint bench generate setup clean

up: setup
	@hack/up

down:
	@hack/down

test: setup lint unit integration e2e

unit: setup
	@hack/test unit

integration: setup
	@hack/test integration

e2e: setup
	@hack/test e2e

lint: setup
	@hack/lint

bench: setup
	@hack/bench $(NAME)

generate: setup
	@hack/generate

setup:
	@hack/setup

clean: down
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
