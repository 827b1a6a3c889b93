# `make demo` and `make test` do all the set-up themselves. Needed: Python 3.11 with venv, Go 1.25 or newer, and either
# a Docker engine or Debian 12 as root. `make help` lists the targets.

UV := 0.13.8
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tools of a virtual environment must not depend on whether one is active. Bytecode is kept wherever it is run from:
# without it every process would compile all that it imports.
unexport VIRTUAL_ENV PYTHONPATH PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(VENV)/.complete ## the virtual environment, as pinned in requirements/dev.txt

# Made anew whenever a pin changes; the stamp comes last, so an interrupted run is simply repeated.
$(VENV)/.complete: requirements/dev.txt
	@rm -f $@
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes \
	    --requirement requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@touch $@

.PHONY: lock
lock: $(VENV)/.complete ## resolve the dependencies anew and pin them by hash
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate \
	    --custom-compile-command 'make lock' --output-file requirements/operator.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate --extra dev \
	    --custom-compile-command 'make lock' --output-file requirements/dev.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate --extra cli \
	    --custom-compile-command 'make lock' --output-file requirements/cli.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate --extra docs \
	    --constraint requirements/dev.txt \
	    --custom-compile-command 'make lock' --output-file requirements/docs.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate \
	    --custom-compile-command 'make lock' --output-file examples/digits/image/requirements.txt \
	    examples/digits/image/requirements.in

.PHONY: generate
generate: $(VENV)/.complete ## from the models: the CRDs, what the API server refuses, and docs/reference; from Lua files: what Argo CD is given
	PYTHONPATH=operator $(BIN)/python -m serinus.api.crd crds
	PYTHONPATH=operator $(BIN)/python -m serinus.api.crd charts/serinus/files
	PYTHONPATH=operator $(BIN)/python -m serinus.api.admission charts/serinus/files
	$(BIN)/python deploy/argocd/render.py
	PYTHONPATH=operator:. $(BIN)/python -m handbook docs/reference

# Beside what development needs, and of the same versions where both need it.
$(VENV)/.docs: requirements/docs.txt $(VENV)/.complete
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements/docs.txt
	@touch $@

.PHONY: docs
docs: $(VENV)/.docs ## the documentation as a site, in site/; links that lead nowhere are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: docs-serve
docs-serve: $(VENV)/.docs ## the same on http://127.0.0.1:8000, made anew whenever a page changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

HELM ?= helm
NAMESPACE ?= serinus-system
MANIFESTS ?= dist/serinus.yaml

.PHONY: manifests
manifests: ## plain manifests from the chart, without the CRD: NAMESPACE=serinus-system VALUES=my-values.yaml
	@mkdir -p $(dir $(MANIFESTS))
	$(HELM) template serinus charts/serinus --namespace $(NAMESPACE) --skip-tests \
	    $(if $(VALUES),--values $(VALUES)) --set crds.install=false > $(MANIFESTS).partial \
	    || { rm -f $(MANIFESTS).partial; false; }
	@mv $(MANIFESTS).partial $(MANIFESTS)

# One process more than there are processors: tests wait for some of their time, the integration tests for much of it.
# Who is done takes over from who has most left.
IN_PARALLEL = --numprocesses $(shell echo $$(($$(nproc) + 1))) --dist worksteal

.PHONY: check
check: $(VENV)/.complete ## format, lint, layers, types and the fast tests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=operator $(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pytest --quiet $(IN_PARALLEL) tests/unit tests/golden tests/contract

.PHONY: test
test: check ## everything a change must pass: check, world, integration, properties at length, and end to end
	$(MAKE) --jobs=2 world-and-integration images
	$(MAKE) e2e

.PHONY: world-and-integration
world-and-integration: $(VENV)/.complete
	$(BIN)/pytest --quiet $(IN_PARALLEL) -m 'not full' tests/world tests/integration

.PHONY: walks
walks: $(VENV)/.complete ## random walks through the simulated world: WALKS=100000 FIRST=0
	PYTHONPATH=operator:. $(BIN)/python -m tests.world.many_walks $(or $(WALKS),20000) --first $(or $(FIRST),0)

.PHONY: told-walks
told-walks: $(VENV)/.complete ## walks that hypothesis makes up, others each time: TOLD_WALKS=5000 of each kind
	TOLD_WALKS=$(or $(TOLD_WALKS),5000) $(BIN)/pytest --quiet --numprocesses auto -m exhaustive tests/world/test_told_walks.py

# They wait more than they work, also on two cores.
BESIDE_OTHERS := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: e2e
e2e: $(VENV)/.complete cluster ## the end-to-end tests, each path once, on the real cluster
	$(BIN)/pytest -m 'not full and beside_others' $(BESIDE_OTHERS) e2e
	$(BIN)/pytest -m 'not full and not beside_others' e2e

.PHONY: e2e-full
e2e-full: $(VENV)/.complete cluster ## the long and repeated cases too
	$(BIN)/pytest --quiet $(IN_PARALLEL) -m full tests/world tests/integration
	$(BIN)/pytest --quiet $(IN_PARALLEL) -m hypothesis --hypothesis-profile=thorough tests/unit
	$(BIN)/pytest -m beside_others $(BESIDE_OTHERS) e2e
	$(BIN)/pytest -m 'not beside_others' e2e

.PHONY: demo
demo: $(VENV)/.complete cluster ## a promotion and a rollback of a real model, with a table of what happened
	$(BIN)/python -m e2e.demo

SIZE ?= 100

.PHONY: bench-scale
bench-scale: $(VENV)/.complete ## SIZE=500 resources at once, PEER="argo argo-routed" beside Argo Rollouts (PEER_LIMITS="40/80 400/800")
	PYTHONPATH=operator $(BIN)/python -m bench --size $(SIZE) $(if $(PEER),--peer $(PEER)) \
	    $(if $(PEER_LIMITS),--peer-limits $(PEER_LIMITS)) $(if $(PHASES),--phases $(PHASES))

.PHONY: bench-report
bench-report: $(VENV)/.complete ## write docs/scale.md from its results; RESULTS="bench/results/….json" are taken in first
	PYTHONPATH=operator $(BIN)/python -m bench.report $(RESULTS)

.PHONY: bench-verdicts
bench-verdicts: $(VENV)/.complete ## verdicts beside Argo Rollouts' and Flagger's: RUNS=5000 JOBS=2 MINUTES=60 REPORT=docs; goes on where it was
	PYTHONPATH=operator $(BIN)/python -m bench.verdicts --runs $(or $(RUNS),100) --jobs $(or $(JOBS),0) \
	    $(if $(MINUTES),--minutes $(MINUTES)) $(if $(KINDS),--kinds "$(KINDS)") $(if $(REPORT),--report $(REPORT))

.PHONY: cluster
cluster: ## a real Kubernetes cluster with gateway and Prometheus
	$(PYTHON) -m e2e.cluster up

.PHONY: cluster-down
cluster-down: ## end the cluster; leaves nothing but the cache
	$(PYTHON) -m e2e.cluster down

.PHONY: tools
tools: ## build the cluster's programs into the cache, without starting anything
	$(PYTHON) -m e2e.cluster tools

.PHONY: images
images: $(VENV)/.complete tools ## the same with the images of the operator and of the example
	$(BIN)/python -m e2e.stage

.PHONY: clean
clean: ## end the cluster and delete everything that was made in this checkout
	$(PYTHON) -m e2e.cluster down
	rm -rf $(VENV) .state .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build site
