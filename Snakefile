# uv run snakemake --cores all                      the study `demo`, on this machine
# uv run snakemake --profile slurm                  the study `paper`, through Slurm
# uv run snakemake --cores all tables               the tables again, from the records that exist
# --config study=NAME mirror=DIR results=DIR tasks=cola,sst2 seeds=0 set="recipe.epochs=1"    docs/configuration.md
# Every job reads this file again: no torch and no pandas here.
from functools import partial

from bench.config.peft_fields import check_peft_methods
from bench.paths import cell_id
from bench.pipeline.environment import export_lock
from bench.pipeline.failures import refuse, report_failures
from bench.pipeline.study import pipeline_of
from bench.pipeline.locks import announce_holder, note_holder
from bench.pipeline.status import report_unscored

with refuse():
    PIPELINE = pipeline_of(config)
    if workflow.is_main_process:  # it imports PEFT where a method uses it; jobs needn't check again
        check_peft_methods(PIPELINE.study.catalog, PIPELINE.study.study.methods)
if workflow.is_main_process:
    announce_holder()

PATHS, CACHED = PIPELINE.paths, PIPELINE.cached
RETRIES = 2
# The Snakemake inside a cluster's job tries once: the main one tries again, in a new job with more memory and time.
RETRIES_HERE = RETRIES if workflow.is_main_process else 0
shell.prefix(f"set -euo pipefail; {PIPELINE.shell_prefix()}")
export_lock()


report: "workflow/report/study.rst"


rule all:
    input:
        PIPELINE.records,  # named here, so that a deleted record is missed
        PATHS.views,


include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/analyze.smk"


onstart:
    note_holder(PIPELINE.study.name)


onsuccess:
    report_unscored(PIPELINE)


onerror:
    report_unscored(PIPELINE)
    report_failures(PIPELINE)
