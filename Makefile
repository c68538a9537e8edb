# The commands for this repository. `make` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMPS := build/stamps
# The subjects of the commits after this one have the form that CONTRIBUTING.md describes.
SUBJECTS_SINCE := 6eff2f107278c2b1ab800f255b5634fee0086bb1
DATA_DIR ?= $(or $(CELL_MONITOR_DATA_DIR),var)
ARGS ?=
HOSTS ?=
# pytest-xdist: one process for each processor, which takes a whole file at a time, in the order of file_order.py.
# Each process has servers of its own.
IN_PROCESSES := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# The same, but each process takes all tests of a host, the host with the most tests first.
HOSTS_IN_PROCESSES := --numprocesses logical --maxprocesses 4 --dist loadgroup
# Of property tests; other examples in each run without it.
SEED := $(addprefix --hypothesis-seed=,$(PROPERTY_TEST_SEED))

EXTENSION := packages/jupyterlab-cell-monitor
PYTHON_PACKAGES := packages/core services/api services/worker services/ws-gateway packages/standalone packages/testing
PYTHON_SOURCES := packages/core/src packages/standalone/src packages/testing/src services/api/src services/worker/src \
	services/ws-gateway/src $(EXTENSION)/jupyterlab_cell_monitor
EXTENSION_SOURCES := $(shell find $(EXTENSION)/src $(EXTENSION)/style $(EXTENSION)/schema -type f 2>/dev/null) \
	$(wildcard $(EXTENSION)/*.json $(EXTENSION)/pyproject.toml)
DASHBOARD_SOURCES := $(shell find dashboard/src dashboard/public -type f 2>/dev/null) \
	$(wildcard dashboard/*.json dashboard/*.ts dashboard/index.html)

define say
@printf '\033[1m%s\033[0m\n' "$(1)"
endef

# First line of every recipe that writes into this folder.
define require_writable
@[ -w . ] || { \
	echo "The folder $(CURDIR) cannot be written to, and make installs and builds in it."; \
	echo "Make a copy that belongs to you and run make there:"; \
	echo "  cp -r \"$(CURDIR)\" ~/cell-monitor && chmod -R u+w ~/cell-monitor && cd ~/cell-monitor && make $(MAKECMDGOALS)"; \
	echo "Or let the owner of the folder run \`make install\` once; then only the data needs a folder of yours:"; \
	echo "  make up DATA_DIR=\"\$$HOME/cell-monitor-data\""; \
	exit 1; }
endef

# A virtual environment holds the path of its folder: in a copied or moved clone it would run the sources of the old one.
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
INSTALLED_IN := $(shell cat $(VENV)/installed-in 2>/dev/null)
ifneq ($(INSTALLED_IN),$(if $(INSTALLED_IN),$(CURDIR)))
$(info This folder was copied or moved from $(INSTALLED_IN): what holds that path is installed again.)
ifneq ($(shell rm -rf $(VENV) $(STAMPS)/python $(STAMPS)/dev $(STAMPS)/extension 2>&1),)
$(error It cannot be removed from $(CURDIR), which cannot be written to: copy the folder to one that belongs to you)
endif
endif
endif

##@ Use

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ /{printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: install ## Start everything on this machine; prints a link for the instructor and one for a student. Options: ARGS="--port-base 9000"
	@data="$(DATA_DIR)"; data="$${data/#\~\//$$HOME/}"; mkdir -p "$$data" 2>/dev/null && [ -w "$$data" ] || { \
		echo "The data cannot be kept in $(DATA_DIR): that folder cannot be created or written to. Set another:"; \
		echo "  make up DATA_DIR=\"\$$HOME/cell-monitor-data\""; exit 1; }
	@exec $(BIN)/cell-monitor up --data-dir "$(DATA_DIR)" $(ARGS)

.PHONY: simulate
simulate: $(STAMPS)/python ## Simulate a class of 30 for five minutes, while `make up` runs. Options: ARGS="--speed 10"
	@exec $(BIN)/cell-monitor simulate --data-dir "$(DATA_DIR)" $(ARGS)

##@ Develop

.PHONY: install
install: node $(STAMPS)/python $(STAMPS)/extension dashboard/dist/index.html ## Install and build everything, start nothing

.PHONY: dashboard
dashboard: dashboard/dist/index.html ## Build the dashboard

.PHONY: test
test: node $(STAMPS)/dev install $(STAMPS)/oidc-provider browser pgbouncer ## Run all tests; ARGS="-k word" selects Python tests
	$(call say,Dashboard: unit tests)
	@cd dashboard && npm test --silent
	$(call say,JupyterLab extension: unit tests)
	@cd $(EXTENSION) && ../../$(BIN)/jlpm test
	$(call say,Python: unit$(,) integration and end-to-end tests)
	@$(BIN)/pytest -m "not stores" $(IN_PROCESSES) $(SEED) $(ARGS)

.PHONY: test-hosts
test-hosts: node $(STAMPS)/dev $(STAMPS)/extension dashboard/dist/index.html $(STAMPS)/hub-proxy browser stores ## Test with other JupyterLab and JupyterHub versions, stores and proxies; HOSTS="lab-4.4 hub-6.1 …" or all; ARGS="-k word"
	@$(BIN)/python -m cell_monitor_testing.jupyter_hosts prepare $(HOSTS)
	@# Two runs, as Playwright starts once in a process; 5: the arguments select no test in one of them.
	@$(BIN)/pytest $(HOSTS_IN_PROCESSES) $(EXTENSION)/tests/hosts $(addprefix --host=,$(HOSTS)) $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/pytest $(HOSTS_IN_PROCESSES) tests/hub $(addprefix --host=,$(HOSTS)) $(ARGS) || [ $$? -eq 5 ]
	@$(if $(HOSTS),:,$(BIN)/pytest -m stores $(IN_PROCESSES) $(ARGS) || [ $$? -eq 5 ])

.PHONY: test-fresh
test-fresh: node $(STAMPS)/dev ## Clone the last commit, install and start it as on a fresh machine (about 4 minutes)
	@$(BIN)/pytest tests/fresh $(ARGS)

.PHONY: lint
lint: node $(STAMPS)/dev $(STAMPS)/extension $(STAMPS)/dashboard-modules ## Check style, types, generated files and import contracts
	$(call say,Python)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(PYTHON_SOURCES)
	@$(BIN)/lint-imports
	$(call say,Generated files)
	@$(BIN)/python -m cell_monitor_testing.generation --check
	$(call say,Commit subjects)
	@if git merge-base --is-ancestor $(SUBJECTS_SINCE) HEAD 2>/dev/null; then \
		git log --no-merges --format='%h %s' $(SUBJECTS_SINCE)..HEAD | awk '{subject = substr($$0, index($$0, " ") + 1)} \
			length(subject) > 72 || subject !~ /^[a-z0-9][a-z0-9 \/,._-]*: ./ {print "not `area: verb …` of at most 72 characters: " $$0; bad = 1} \
			END {exit bad}'; \
	else echo "Skipped: this clone does not have the commit $(SUBJECTS_SINCE)."; fi
	$(call say,Dashboard)
	@cd dashboard && npm run --silent lint && npm run --silent typecheck
	$(call say,JupyterLab extension)
	@cd $(EXTENSION) && ../../$(BIN)/jlpm lint
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run; else echo "Skipped: shellcheck is not installed."; fi

.PHONY: format
format: $(STAMPS)/dev ## Format the Python sources
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: generate
generate: node $(STAMPS)/dev $(STAMPS)/dashboard-modules ## Write all generated files: event types, OpenAPI, AsyncAPI, tables of the docs
	@$(BIN)/python -m cell_monitor_testing.generation

.PHONY: bench
bench: $(STAMPS)/dev install ## Measure; writes docs/performance.md. Compare builds: ARGS="--against COMMIT"; more: ARGS=--help
	@if [ -z "$${CELL_MONITOR_INFLUXD:-}" ] && [ ! -x build/tools/influxd ] && [ -f ../shared/tools/bin/influxd.xz ]; then \
		mkdir -p build/tools && xz -dkc ../shared/tools/bin/influxd.xz > build/tools/influxd && chmod +x build/tools/influxd; fi
	@if [ -x build/tools/influxd ]; then export CELL_MONITOR_INFLUXD="$${CELL_MONITOR_INFLUXD:-$$PWD/build/tools/influxd}"; fi; \
		$(BIN)/python tests/load/bench.py --write-docs $(ARGS)

.PHONY: constraints
constraints: $(STAMPS)/dev ## Write constraints.txt from the installed packages
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable \
		| grep -E '^[A-Za-z0-9_.-]+==' | grep -v -i -E '^(pip|setuptools|wheel|jupyterlab[-_]cell[-_]monitor)==' | sort -f; } > constraints.new
	@mv constraints.new constraints.txt

.PHONY: clean
clean: ## Remove installed and built files; data in var/ is kept
	rm -rf build $(VENV) dashboard/dist dashboard/node_modules $(EXTENSION)/lib $(EXTENSION)/node_modules \
		$(EXTENSION)/jupyterlab_cell_monitor/labextension .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@if [ -d var ]; then echo "Kept: var/ (the data of make up). Delete it yourself if you do not need it."; fi

# --- prerequisites of the targets above, rebuilt when their sources change ---

, := ,

$(BIN)/python:
	$(require_writable)
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer is needed and was not found. Install it, or set its path: make PYTHON=/path/to/python"; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; $(PYTHON) is $$("$(PYTHON)" --version). Set another: make PYTHON=/path/to/python"; exit 1; }
	$(call say,Creating a virtual environment in $(VENV))
	@"$(PYTHON)" -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "Python's module venv does not work here. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@printf '%s\n' "$(CURDIR)" > $(VENV)/installed-in

$(STAMPS)/python: constraints.txt $(addsuffix /pyproject.toml,$(PYTHON_PACKAGES)) | $(BIN)/python
	$(require_writable)
	$(call say,Installing the Python packages)
	@mkdir -p $(STAMPS)
	@$(PIP) install -c constraints.txt hatchling editables hatch-jupyter-builder hatch-nodejs-version jupyter-builder jupyterlab
	@$(PIP) install -c constraints.txt --no-build-isolation $(foreach package,$(PYTHON_PACKAGES),-e $(package))
	@touch $@

$(STAMPS)/dev: requirements-dev.txt constraints.txt $(STAMPS)/python
	$(require_writable)
	$(call say,Installing the tools for tests and linters)
	@$(PIP) install -c constraints.txt -r requirements-dev.txt
	@touch $@

.PHONY: node
node:
	@command -v node >/dev/null && command -v npm >/dev/null || { \
		echo "Node.js 20 or newer (with npm) is needed to build the dashboard and the JupyterLab extension, and was not found."; \
		echo "Install it from your package manager or https://nodejs.org, then run make again."; exit 1; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { \
		echo "Node.js 20 or newer is needed; this one is $$(node --version) ($$(command -v node))."; exit 1; }

$(STAMPS)/extension: $(EXTENSION_SOURCES) $(STAMPS)/python | node
	$(require_writable)
	$(call say,Building the JupyterLab extension)
	@cd $(EXTENSION) && ../../$(BIN)/jlpm install --immutable > ../../build/extension.log 2>&1 \
		&& PATH="$(CURDIR)/$(BIN):$$PATH" ../../$(BIN)/jlpm build:prod >> ../../build/extension.log 2>&1 \
		|| { tail -n 40 ../../build/extension.log; exit 1; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install -c constraints.txt --no-build-isolation -e $(EXTENSION)
	@rm -rf build/wheel && PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheel $(EXTENSION)
	@touch $@

$(STAMPS)/dashboard-modules: dashboard/package-lock.json | node
	$(require_writable)
	$(call say,Installing the dashboard's modules)
	@mkdir -p $(STAMPS)
	@cd dashboard && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(STAMPS)/hub-proxy: tests/hub/package-lock.json | node
	$(require_writable)
	$(call say,Installing the proxy of the JupyterHub of the tests)
	@mkdir -p $(STAMPS)
	@cd tests/hub && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(STAMPS)/oidc-provider: tests/oidc/package-lock.json | node
	$(require_writable)
	$(call say,Installing the OpenID Connect provider of the tests)
	@mkdir -p $(STAMPS)
	@cd tests/oidc && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

dashboard/dist/index.html: $(DASHBOARD_SOURCES) $(STAMPS)/dashboard-modules
	$(require_writable)
	$(call say,Building the dashboard)
	@cd dashboard && npm run --silent build > ../build/dashboard.log 2>&1 || { tail -n 40 ../build/dashboard.log; exit 1; }
	@touch $@

.PHONY: browser
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >/dev/null; \
	elif [ "$${CELL_MONITOR_REQUIRE_BROWSER:-}" = 1 ]; then \
		echo "No Chromium or Chrome was found, but CELL_MONITOR_REQUIRE_BROWSER=1 requires the tests in a browser."; exit 1; \
	else echo "Skipped: no Chromium or Chrome was found for the tests in a browser."; fi

.PHONY: pgbouncer
pgbouncer:
	@if PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing PgBouncer for the tests with it"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends pgbouncer >/dev/null; \
	elif [ "$${CELL_MONITOR_REQUIRE_PGBOUNCER:-}" = 1 ]; then \
		echo "No pgbouncer was found, but CELL_MONITOR_REQUIRE_PGBOUNCER=1 requires the tests with it."; exit 1; \
	else echo "Skipped: no pgbouncer was found for the tests with it."; fi

# The stores and proxies of the tests marked `stores`, with the names of their programs.
.PHONY: stores
stores:
	@missing=; export PATH="$$PATH:/usr/sbin:/usr/lib/postgresql/15/bin"; \
		for program in redis-server postgres pgbouncer nginx haproxy stunnel; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Debian's stores and proxies for the tests with them"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
			redis-server postgresql-15 pgbouncer nginx-light haproxy stunnel4 >/dev/null; \
	elif [ "$${CELL_MONITOR_REQUIRE_STORES:-}" = 1 ]; then \
		echo "Not found:$$missing, but CELL_MONITOR_REQUIRE_STORES=1 requires the tests with them."; exit 1; \
	else echo "Skipped: not found for the tests with them:$$missing."; fi
