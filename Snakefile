# uv run snakemake --cores all                      the study `demo`, on this machine
# uv run snakemake --profile slurm                  the study `paper`, through Slurm
# uv run snakemake --cores all tables               the tables again, from the records that exist
# --config study=NAME mirror=DIR results=DIR        another study, data and models from a folder, another place
# --config tasks=cola,sst2 methods=lora seeds=0     fewer cells;  --config set="recipe.epochs=1;threads=2"  other values
# Every job reads this file again: no torch and no pandas here.
import os
from functools import partial

from bench.pipeline.failures import refuse, report_failures
from bench.pipeline.grid import pipeline_of
from bench.pipeline.environment import lock_hash

with refuse():
    PIPELINE = pipeline_of(config)

FOLDER, CACHE = PIPELINE.folder, PIPELINE.cache.as_posix()
PREPARE, TRAIN = PIPELINE.command("prepare"), PIPELINE.command("train")
VIEW = {name: PIPELINE.command(name) for name in ("tables", "figures", "page")}
RETRIES = 2
ATTEMPTS = RETRIES + 1
os.environ.setdefault(
    "BENCH_LOCK_SHA256", lock_hash()
)  # a job refuses to run in another environment


rule all:
    input:
        PIPELINE.records,  # named here, so that a deleted record is missed
        PIPELINE.views,


rule records:
    input:
        PIPELINE.records,


include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/analyse.smk"


onerror:
    report_failures(PIPELINE)
