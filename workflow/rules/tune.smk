# Trials, read only where a study tunes: one rule per task, as for cells (train.smk). The rivals of a trial are those of
# its task, method and budget. With successive halving all rivals are compared at rungs, the last of which a trial waits
# for before it ends. `ancient`: a rung that was reached once is not reached again because a rival was trained again.
# Final cells and rungs wait for markers, which stand for all trials of a group.
for task in PIPELINE.tasks:

    rule:
        name:
            f"trial_{task}"
        input:
            **PIPELINE.inputs(task),
            rivals=ancient(partial(PIPELINE.rivals, task)),
            prepared=ancient(PATHS.prepared),
        output:
            update(PATHS.cell(trial_id(task, "{method}", "{budget}", "{point}", "{seed}")).record),
        log:
            PATHS.log(trial_id(task, "{method}", "{budget}", "{point}", "{seed}")),
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
            " --budget {wildcards.budget:q} --point {wildcards.point} --seed {wildcards.seed} --offline"
            " --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"

    rule:
        name:
            f"recorded_{task}"
        input:
            partial(PIPELINE.gathered, task),
        output:
            touch(PATHS.gathered(f"{task}/{{method}}/{{budget}}")),
        localrule: True

    if PIPELINE.rungs:

        rule:
            name:
                f"reached_{task}"
            input:
                partial(PIPELINE.gathered, task),
            output:
                touch(PATHS.gathered(f"{task}/{{method}}/{{budget}}", "{rung}")),
            localrule: True

        rule:
            name:
                f"rung_{task}"
            input:
                **PIPELINE.inputs(task),
                rivals=ancient(partial(PIPELINE.rivals, task)),
                prepared=ancient(PATHS.prepared),
            output:
                update(PATHS.cell(trial_id(task, "{method}", "{budget}", "{point}", "{seed}")).rung("{rung}")),
            log:
                PATHS.rung_log(trial_id(task, "{method}", "{budget}", "{point}", "{seed}"), "{rung}"),
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
                " --budget {wildcards.budget:q} --point {wildcards.point} --seed {wildcards.seed} --rung {wildcards.rung}"
                " --offline --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"


# Short trials: one job trains several of one task, method and budget.
for group in PIPELINE.trial_groups:

    rule:
        name:
            group.name
        input:
            **PIPELINE.inputs(group.task),
            rivals=ancient(partial(PIPELINE.group_rivals, group)),
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
            specs=[PIPELINE.spec_of(trial) for trial in group.cells],
            attempts=RETRIES + 1,
        shell:
            "bench group --study $BENCH_STUDY --task {params.task} --cells {params.cells} --offline"
            " --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"

    if PIPELINE.rungs:

        rule:
            name:
                group.rungs_name
            input:
                **PIPELINE.inputs(group.task),
                rivals=ancient(partial(PIPELINE.group_rivals, group)),
                prepared=ancient(PATHS.prepared),
            output:
                update(PIPELINE.rungs_of(group.cells, "{rung}")),
            log:
                PATHS.group_log(group.task, f"{group.rungs_name}-{{rung}}"),
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
                specs=[PIPELINE.spec_of(trial) for trial in group.cells],
                attempts=RETRIES + 1,
            shell:
                "bench group --study $BENCH_STUDY --task {params.task} --cells {params.cells} --rung {wildcards.rung}"
                " --offline --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"

        workflow.ruleorder(group.rungs_name, f"rung_{group.task}")
        workflow.ruleorder(group.name, f"trial_{group.task}")


localrules:
    tuned,


# `touch`: the command leaves a file as it is that says the same already.
rule tuned:
    input:
        PIPELINE.all_gathered,
    output:
        update(PATHS.tuned),
    log:
        PATHS.view_log("tuned"),
    params:
        spec=PIPELINE.spec_of_tuned,
    shell:
        "bench tuned $BENCH_STUDY > {log:q} 2>&1 && touch -- {output:q}"
