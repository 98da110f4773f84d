# One rule a task, made from its file. What decides a rerun is the spec's hash and the prepared data, nothing else:
# `update` leaves a record in place, and `bench train` ends at once where the record already is what the cell asks for.
for task in PIPELINE.tasks:

    rule:
        name:
            f"train_{task}"
        input:
            **PIPELINE.inputs(task),
            prepared=ancient(PIPELINE.prepared),
        output:
            record=update(f"{FOLDER}/cells/{task}/{{method}}/{{budget}}/seed-{{seed}}/record.json"),
        log:
            f"{FOLDER}/logs/{task}/{{method}}/{{budget}}/seed-{{seed}}.log",
        retries: RETRIES
        threads: PIPELINE.threads
        resources:
            gpu=partial(PIPELINE.gpus, task),
            mem_mb=partial(PIPELINE.memory_mb, task),
            runtime=partial(PIPELINE.minutes, task),
            attempt=lambda wildcards, attempt: attempt,
        params:
            task=task,
            spec=partial(PIPELINE.spec_hash, task),
            attempts=RETRIES + 1,
        shell:
            "bench train --study $STUDY --task {params.task} --method {wildcards.method} --budget {wildcards.budget}"
            " --seed {wildcards.seed} --out $(dirname {output.record}) --offline"
            " --attempt {resources.attempt} --attempts {params.attempts} > {log} 2>&1"


rule records:
    input:
        PIPELINE.records,
