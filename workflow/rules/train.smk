# One rule per task, made from the task's file. A cell runs again if the hash of its spec or its prepared data changed.
# `update` makes Snakemake leave an old record in place, and `bench train` ends at once if the record is still valid.
# Where a study tunes, a cell waits for the trials of its group (tune.smk), and its spec covers all that can be chosen.
for task in PIPELINE.tasks:

    rule:
        name:
            f"train_{task}"
        input:
            **PIPELINE.inputs(task),
            **PIPELINE.waits(task),
            prepared=ancient(PATHS.prepared),
        output:
            update(PATHS.cell(cell_id(task, "{method}", "{budget}", "{seed}")).record),
        log:
            PATHS.log(cell_id(task, "{method}", "{budget}", "{seed}")),
        retries: RETRIES_HERE
        threads: partial(PIPELINE.cores, task)
        resources:
            gpu=partial(PIPELINE.gpus, task),
            mem_mb=partial(PIPELINE.memory_mb, task),
            runtime=partial(PIPELINE.minutes, task),
            attempt=lambda wildcards, attempt: attempt,
        params:
            task=task,
            spec=partial(PIPELINE.spec, task),
            attempts=RETRIES + 1,
        shell:
            "bench train --study $BENCH_STUDY --task {params.task} --method {wildcards.method:q}"
            " --budget {wildcards.budget:q} --seed {wildcards.seed} --offline"
            " --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"


# Short cells: one job trains several cells of one task, in a process that imports the libraries once. Its records are
# those of the rule above, and it takes precedence; a record that is valid is left alone.
for group in PIPELINE.groups:

    rule:
        name:
            group.name
        input:
            **PIPELINE.inputs(group.task),
            **PIPELINE.group_waits(group),
            prepared=ancient(PATHS.prepared),
        output:
            update(PIPELINE.records_of(group.cells)),
        log:
            PATHS.group_log(group.task, group.name),
        retries: RETRIES_HERE
        threads: PIPELINE.group_cores(group)
        resources:
            gpu=PIPELINE.group_gpus(group),
            mem_mb=lambda wildcards, attempt, group=group: PIPELINE.group_memory_mb(group, attempt),
            runtime=lambda wildcards, attempt, group=group: PIPELINE.group_minutes(group, attempt),
            attempt=lambda wildcards, attempt: attempt,
        params:
            task=group.task,
            cells=group.cell_names,
            specs=[PIPELINE.spec_of(cell) for cell in group.cells],
            attempts=RETRIES + 1,
        shell:
            "bench group --study $BENCH_STUDY --task {params.task} --cells {params.cells} --offline"
            " --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"

    workflow.ruleorder(group.name, f"train_{group.task}")


rule records:
    input:
        CHANGED_INPUTS,
        PIPELINE.records,
        PIPELINE.trial_records,
        PIPELINE.tuned,
