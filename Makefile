# `make` lists the targets. Each is one or two commands of uv, which you can run by themselves.
.DEFAULT_GOAL := help
.PHONY: help setup hooks demo tables test lint format docs ci

CORES ?= all

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup:  ## install the locked environment into .venv
	uv sync

hooks: setup  ## run the linters before each commit (needs pre-commit: uv tool install pre-commit)
	pre-commit install

demo:  ## run the study `demo`: eight minutes on two cores, tables in results/demo/tables/
	uv run snakemake --cores $(CORES)

tables:  ## make the tables of the demo again from its records
	uv run snakemake --cores $(CORES) tables

test:  ## run all tests except those that start a Slurm cluster
	uv run pytest
	uv run pytest -m long

lint:  ## check style, types, imports between folders, YAML files and the workflow
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy bench
	uv run lint-imports --no-logo
	uv run bench check
	uv run snakefmt --check Snakefile workflow/rules bench/template

format:  ## format the code and the workflow in place
	uv run ruff check --fix .
	uv run ruff format .
	uv run snakefmt Snakefile workflow/rules bench/template

docs:  ## check links, file names, commands and tables of keys in the documentation
	uv run pytest -q tests/docs

ci:  ## everything that CI checks: up to an hour
	bash .ci/run
