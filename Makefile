# make demo    two synthetic studies through a node to an archive, and a table of what came back
# make serve   a node on the embedded defaults; the status page's address is printed
# make test    lint, types, layers and tests
# make test-postgresql   the tests about the database on PostgreSQL; needs its server (Debian: postgresql)
#                        all of them: DICOM_NODE_TEST_POSTGRESQL=temporary make test
# make compose-demo      two synthetic studies through the system of docker-compose.yml, which must run
# make lock    constraints.txt from the newest releases that pyproject.toml allows, requirements.lock with their hashes
# make sbom    build/sbom.json: what is installed here, as a CycloneDX bill of materials
# make audit   known vulnerabilities of what is pinned; asks pypi.org
#
# Needs Python 3.11 or newer: python3, or the one named as in `make demo PYTHON=python3.12`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo serve test test-postgresql compose-demo lock sbom audit clean

demo: $(VENV)/.installed
	$(BIN)/python -m dicom_node.demo

serve: $(VENV)/.installed
	$(BIN)/dicom-node serve

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd orthanc && ../$(BIN)/mypy --strict --explicit-package-bases --ignore-missing-imports route_to_node.py node_routing
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# COMPOSE=podman-compose where there is no Docker.
COMPOSE ?= docker compose
compose-demo:
	$(COMPOSE) --profile demo run --rm demo

# The whole suite runs there too; these are the tests to which it makes a difference.
test-postgresql: $(VENV)/.installed-test
	DICOM_NODE_TEST_POSTGRESQL=temporary $(BIN)/pytest tests/test_workflow.py tests/test_retention.py tests/access \
	  tests/archive/test_archive.py tests/archive/test_refusals.py tests/studies/test_analyses.py tests/web/test_queries.py

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes a few minutes."
	$(PIP) -c constraints.txt -e '.[torch]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -c constraints.txt -e '.[benchmark,s3,test,training]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one as in: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) has no venv module; on Debian: apt install python3-venv" >&2; exit 1; }

# Local version labels such as +cpu name one build of a release; the pin is of the release.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check -e '.[benchmark,s3,test,training]'
	build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > constraints.txt
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lock/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --constraint constraints.txt \
	  --custom-compile-command "make lock" --no-emit-index-url --no-emit-find-links --extra s3 --extra torch pyproject.toml -o requirements.lock
	rm -rf build/lock

# Tools that look at an environment are kept out of it.
TOOLS := build/tools
sbom: $(VENV)/.installed $(TOOLS)/.installed
	$(TOOLS)/bin/cyclonedx-py environment --output-format JSON --output-file build/sbom.json $(BIN)/python

audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --disable-pip --require-hashes -r requirements.lock

$(TOOLS)/.installed: | $(BIN)/python
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom pip-audit
	@touch $@

clean:
	rm -rf $(VENV) build
