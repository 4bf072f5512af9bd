# Everything a fresh machine needs is Python >= 3.10 with its venv module (or uv), and make.
# Every target sets up its own .venv first; the second time that takes no time.
#
#   PYTHON=/path/to/python   choose the interpreter        UV=   (empty) leave uv alone
#   ARGS="-k breaker -x"     more arguments to pytest      make test ARGS="…"

UV ?= uv
PY := .venv/bin/python
TYPED := resilient $(wildcard tests/typing)

.DEFAULT_GOAL := help
.PHONY: help demo test check test-all bench corpus mutants docs format clean
.NOTPARALLEL:
unexport PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX

help:
	@echo 'make demo      see it work: real servers, about 16 seconds'
	@echo 'make test      the tests; ARGS="…" goes to pytest'
	@echo 'make check     lint, format, types (mypy, pyright)'
	@echo 'make test-all  the tests on every CPython 3.10-3.13 found here, with oldest and newest tenacity'
	@echo 'make bench     the benchmarks; ARGS="outage" for a long one'
	@echo 'make corpus    every client against every case, and the table of clients in the manual; takes long'
	@echo 'make mutants   do the tests notice a wrong line? ARGS="_circuit" for one module; takes long'
	@echo 'make docs      the manual, in docs/_build/html'
	@echo 'make format    put the code in order'
	@echo 'make clean     remove everything that was made here'

demo:
	@$(SETUP) .venv demo -e '.[demo]'
	@$(PY) -m resilient demo

# Without ARGS, in three processes side by side: the tests with many servers mostly wait.
GUARDED = $(filter-out tests/test_guard_redis%, $(wildcard tests/test_guard_*.py))
SERVED = $(wildcard tests/test_integration_*.py tests/test_cli_*.py tests/test_handshakes*.py) tests/test_corpus.py \
	tests/test_diagnosis.py tests/test_doctor.py tests/test_machine_servers.py tests/test_waiting.py

test:
	@$(SETUP) .venv dev -e . --group dev
ifeq ($(ARGS),)
	@$(PY) -m pytest -q $(GUARDED) > .venv/guarded.log 2>&1 & guarded=$$!; \
	$(PY) -m pytest -q $(SERVED) > .venv/served.log 2>&1 & served=$$!; \
	$(PY) -m pytest -q $(GUARDED:%=--ignore=%) $(SERVED:%=--ignore=%); others=$$?; \
	wait $$served; served=$$?; cat .venv/served.log; \
	wait $$guarded; guarded=$$?; cat .venv/guarded.log; \
	[ $$others -eq 0 ] && [ $$served -eq 0 ] && [ $$guarded -eq 0 ]
else
	@$(PY) -m pytest $(ARGS)
endif

# All checks run, also after one has failed. Pyright finds the environment through PATH;
# `--verifytypes` does not heed `--pythonpath` (1.1.414).
check:
	@$(SETUP) .venv dev -e . --group dev
	@failed=; PATH="$$(pwd)/.venv/bin:$$PATH"; \
	run() { echo "== $$*"; $(PY) -m "$$@" || failed="$$failed '$$*'"; }; \
	run ruff check .; \
	run ruff format --check .; \
	run mypy $(TYPED); \
	run pyright; \
	run pyright --verifytypes resilient --ignoreexternal; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

test-all:
	@$(TEST_ALL)

bench:
	@$(SETUP) .venv bench -e . --group bench
	@$(PY) -m benchmarks $(ARGS)

corpus:
	@$(SETUP) .venv-corpus corpus -e .
	@.venv-corpus/bin/python tests/corpus/install.py
	@PYTHONPATH=tests .venv-corpus/bin/python -m corpus $(or $(ARGS),--write)

mutants:
	@$(SETUP) .venv dev -e . --group dev
	@$(PY) -m mutants $(ARGS)

docs:
	@$(SETUP) .venv docs -e . --group docs
	@$(PY) -m sphinx -W --keep-going -b html docs docs/_build/html

format:
	@$(SETUP) .venv dev -e . --group dev
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:
	rm -rf .venv .venv-* dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +


# setup FOLDER NAME INSTALL-ARGUMENTS…
# Makes the environment FOLDER where it is missing, broken or half made, and installs into it once:
# the stamp FOLDER/.done-NAME says for which pyproject.toml, place and arguments.
define SETUP_SCRIPT
folder=$$1 name=$$2; shift 2
python=$$folder/bin/python
stamp=$$folder/.done-$$name
wanted="$$(cksum < pyproject.toml) $$(pwd) $$*"
export HOME="$${HOME:-$$(pwd)/$$folder}"  # build tools insist on one

about() {  # which Python this is; fails where it is none, or too old
  "$$1" -c 'import sys; print(sys.version); sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

make_with_uv() {
  [ -n "$$UV" ] && "$$UV" pip install --help 2>/dev/null | grep -q -- --group || return 1
  UV_PYTHON_DOWNLOADS=never "$$UV" venv -q --seed --python "$${PYTHON:->=3.10}" "$$folder" 2>/dev/null && about "$$python" >/dev/null
}

make_with_venv() {
  if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3 python3.13 python3.12 python3.11 python3.10 python; fi
  old= bare=
  for candidate do
    command -v "$$candidate" >/dev/null 2>&1 || continue
    version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    about "$$candidate" >/dev/null || { old="$$old $$candidate ($$version)"; continue; }
    "$$candidate" -c 'import venv, ensurepip' 2>/dev/null || { bare="$$bare $$candidate ($$version)"; continue; }
    "$$candidate" -m venv "$$folder" && "$$python" -m pip install -q -U pip && return 0
    echo "setup: $$candidate -m venv $$folder failed; see above" >&2
    return 1
  done
  if [ -n "$$bare" ]; then
    echo "setup: found$$bare, without the module venv or ensurepip." >&2
    echo "       Install it (Debian, Ubuntu: apt install python3-venv), or install uv." >&2
  elif [ -n "$$old" ]; then
    echo "setup: found$$old, but Python 3.10 or newer is needed." >&2
    echo "       Install one, or name one: make PYTHON=/path/to/python3.12 ..." >&2
  else
    echo "setup: no Python found. Install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3.12 ..." >&2
  fi
  return 1
}

install() {
  if [ -e "$$folder/.uv" ]; then
    "$$UV" pip install -q --python "$$python" "$$@"
  else
    "$$python" -m pip install -q "$$@"
  fi
}

failed() {  # 1 and 2: pip gave up by itself and left nothing half done; else it was killed
  [ "$$1" -gt 2 ] || rm -f "$$folder/.busy"
  echo "setup: could not install what '$$name' needs; see above" >&2
  exit 1
}

usable() {  # whole, still the Python it was made with, and the one that is asked for
  [ -e "$$folder/.made" ] && [ ! -e "$$folder/.busy" ] || return 1
  made=$$(cat "$$folder/.made")
  [ "$$(about "$$python")" = "$$made" ] || return 1
  [ -z "$$PYTHON" ] || [ "$$(about "$$PYTHON")" = "$$made" ]
}

if [ -n "$$PYTHON" ] && ! about "$$PYTHON" >/dev/null; then
  echo "setup: PYTHON=$$PYTHON is no Python 3.10 or newer that runs" >&2
  exit 1
fi
if ! usable; then
  [ ! -e "$$folder" ] || echo "setup: $$folder is half made, broken or of another Python; making it anew"
  rm -rf "$$folder"
  if make_with_uv; then touch "$$folder/.uv"; else rm -rf "$$folder"; make_with_venv; fi
  about "$$python" > "$$folder/.made"
  echo "setup: made $$folder with Python $$("$$python" -c 'import platform; print(platform.python_version())')"
fi
if [ "$$(cat "$$stamp" 2>/dev/null)" != "$$wanted" ]; then
  echo "setup: installing what '$$name' needs into $$folder (once)"
  touch "$$folder/.busy"
  if [ -e "$$folder/.uv" ] && ! install "$$@"; then
    echo "setup: uv could not; trying pip"
    rm -f "$$folder/.uv"
    "$$python" -m pip install -q -U pip
    install "$$@" || failed $$?
  elif [ ! -e "$$folder/.uv" ]; then
    install "$$@" || failed $$?
  fi
  rm -f "$$folder/.busy"
  printf '%s\n' "$$wanted" > "$$stamp"
fi
endef
export SETUP_SCRIPT UV PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
SETUP = sh -euc "$$SETUP_SCRIPT" setup

# Each CPython that is here, in an environment of its own. One that is not here is said so, loudly, at the end.
define TEST_ALL_SCRIPT
missing= failed= ran=
find_python() {
  for found in "$$(pyenv root 2>/dev/null)"/versions/"$$1".*/bin/python "python$$1"; do
    "$$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$1')" 2>/dev/null && return 0
  done
  return 1
}
run() {  # version, tenacity
  echo "== CPython $$1, $$2"
  ".venv-$$1/bin/python" -m pip install -q -U "$$2" && ".venv-$$1/bin/python" -m pytest $(ARGS) || failed="$$failed / CPython $$1, $$2"
  ran="$$ran / CPython $$1, $$2"
}
for version in 3.10 3.11 3.12 3.13; do
  if ! find_python "$$version"; then missing="$$missing $$version"; continue; fi
  PYTHON=$$found UV= sh -euc "$$SETUP_SCRIPT" setup ".venv-$$version" test -e . --group test || { failed="$$failed / CPython $$version, setup"; continue; }
  case $$version in 3.10|3.13) run "$$version" tenacity==9.0.0;; esac
  run "$$version" tenacity
done
echo
echo "tested:$${ran:- nothing}"
[ -z "$$missing" ] || echo "NOT TESTED, no such interpreter here:$$missing"
[ -z "$$failed" ] || echo "FAILED:$$failed"
[ -z "$$failed" ] && [ -n "$$ran" ]
endef
export TEST_ALL_SCRIPT
TEST_ALL = sh -c "$$TEST_ALL_SCRIPT" test-all
