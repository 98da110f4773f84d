# uv run snakemake --cores all                      the study `demo`, on this machine
# uv run snakemake --profile slurm                  the study `paper`, through Slurm
# uv run snakemake --cores all tables               the tables again, from the records that exist
# --config study=NAME mirror=DIR results=DIR tasks=cola,sst2 seeds=0 set="recipe.epochs=1"    docs/configuration.md
#
# Every job reads this file again, so nothing that it imports loads torch or pandas.
import os
from functools import partial
from pathlib import Path

from bench.config.peft_fields import check_peft_methods
from bench.paths import cell_id, trial_id
from bench.pipeline.changed_inputs import withdraw_changed_inputs
from bench.pipeline.container import container_image, container_variables
from bench.pipeline.failures import exit_on_bad_input, report_failures
from bench.pipeline.folders import refuse_for_cluster
from bench.pipeline.interrupts import answer_interrupts
from bench.pipeline.job_hardware import hardware_of_jobs
from bench.pipeline.locks import announce_holder, export_requirements_hash, note_holder
from bench.pipeline.outdated_records import age_outdated_records
from bench.pipeline.snakemake_config import config_of_run, pipeline_from, words_for_jobs
from bench.pipeline.status import report_unscored
from bench.pipeline.unfinished import announce_unfinished
from bench.progress.log_handler import follow

with exit_on_bad_input():
    IS_MAIN = workflow.is_main_process
    CONFIG = config_of_run(config, workflow.config_settings.config_args, is_main_process=IS_MAIN)
    workflow.config_settings.config_args = words_for_jobs(workflow.config_settings.config_args)
    PIPELINE = pipeline_from(CONFIG, is_main_process=IS_MAIN, hardware=hardware_of_jobs(workflow))
    IMAGE = container_image(CONFIG, [str(method) for method in workflow.deployment_settings.deployment_method])
    if IS_MAIN:  # imports PEFT if a method uses it, so that jobs need not
        check_peft_methods(PIPELINE.study.catalog, PIPELINE.study.methods)
if IS_MAIN:
    announce_holder()
    announce_unfinished(PIPELINE)
    age_outdated_records(PIPELINE)
    follow(PIPELINE, workflow.logger_manager.get_log_handlers())
CHANGED_INPUTS = withdraw_changed_inputs(PIPELINE) if IS_MAIN else []

PATHS, CACHE = PIPELINE.paths, PIPELINE.cache
RETRIES = 2
# The Snakemake inside a cluster's job tries once: the main one tries again, in a new job with more memory and time.
RETRIES_HERE = RETRIES if IS_MAIN else 0

# The rules call `bench`, which reads results=, cache=, mirror=, workflow= and set= from BENCH_* variables. As options
# they would be part of the rules, and Snakemake reruns every finished cell whose rule changed.
os.environ.update(PIPELINE.environment())
export_requirements_hash()


if IMAGE:
    os.environ.update(container_variables(PIPELINE, os.environ))

    container: IMAGE


report: "workflow/report/study.rst"


rule all:
    input:
        CHANGED_INPUTS,
        PIPELINE.records,  # named here, so that a deleted record is missed
        PIPELINE.trial_records,
        PIPELINE.tuned,
        PATHS.views,


include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"


if PIPELINE.trials:

    include: "workflow/rules/tune.smk"


include: "workflow/rules/analyze.smk"


onstart:
    with exit_on_bad_input():
        if workflow.non_local_exec:
            refuse_for_cluster([Path(workflow.main_snakefile), PATHS.results, PIPELINE.options.cache_folder])
    note_holder(PIPELINE.study.name)
    answer_interrupts()
    # A record is written whole or not at all, so a job that fails halfway leaves nothing to be cleaned up. Snakemake
    # would remove the records of those cells of the job that are done, and each retry would train them again.
    workflow.execution_settings.keep_incomplete = True


onsuccess:
    report_unscored(PIPELINE)


onerror:
    report_unscored(PIPELINE)
    report_failures(PIPELINE)
