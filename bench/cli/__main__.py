"""`python -m bench.cli` is the command `bench`."""

from bench.cli.app import run

run()
