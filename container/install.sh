#!/bin/sh
# What both recipes of the image run, step by step: install.sh system|packages|project|check. Their sources are copied to
# SOURCE; PREFIX becomes the virtual environment. Needs Debian for `system` alone, and Python 3.11.
set -eu
PREFIX="${PREFIX:-/opt/venv}"
SOURCE="${SOURCE:-/opt/rankbench}"
PYTHON="${PYTHON:-python3}"

case "${1:?expected system, packages, project or check}" in
system) # git names the commit of a checkout in records; a container's user need not own that checkout
  apt-get update
  apt-get install -y --no-install-recommends git
  rm -rf /var/lib/apt/lists/*
  git config --system --add safe.directory '*'
  ;;
packages) # every package in the version and with the hash of the lock, PyTorch with its own CUDA libraries
  "$PYTHON" -m venv "$PREFIX"
  "$PREFIX/bin/python" -m pip install --no-cache-dir --require-hashes --no-deps -r "$SOURCE/requirements.lock"
  ;;
project) # hatchling makes the wheel and is no part of the image
  "$PREFIX/bin/python" -m pip install --no-cache-dir --no-deps "$SOURCE"
  ;;
check)
  "$PREFIX/bin/python" -m pip check
  cd / # so that the installed package is found, and not its sources
  "$PREFIX/bin/bench" check
  "$PREFIX/bin/python" -c "import torch, transformers, peft, bitsandbytes"
  ;;
*)
  echo "expected system, packages, project or check, found $1" >&2
  exit 2
  ;;
esac
