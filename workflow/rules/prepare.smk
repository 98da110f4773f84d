# Fetch and tokenize, once per study, where the network is (with Slurm: on the login node).
# A data set or model that is refused ends the run before anything is trained: every cell waits for `prepared`.
localrules:
    prepare_model,
    prepare_data,
    prepared,


rule prepare_model:
    output:
        CACHE.model_manifest("{model}"),
    log:
        PATHS.prepare_log("{model}"),
    threads: 1
    shell:
        "bench prepare $BENCH_STUDY --model {wildcards.model:q} > {log:q} 2>&1"


rule prepare_data:
    input:
        # its tokenizer
        model=lambda wildcards: PIPELINE.model_of(wildcards.data),
    output:
        # left in place when the model is prepared again: tokens change only if its tokenizer did
        update(CACHE.data_manifest("{data}")),
    log:
        PATHS.prepare_log("{data}"),
    threads: lambda wildcards: PIPELINE.threads_to_prepare(wildcards.data)
    shell:
        "bench prepare $BENCH_STUDY --data {wildcards.data:q} --threads {threads} > {log:q} 2>&1"


rule prepared:
    input:
        PIPELINE.manifests,
    output:
        # Where it stands, this rule leaves it alone. Otherwise it would run for another choice of tasks or another
        # cache, and Snakemake does not look at what is missing behind a rule that runs and that others take as ancient.
        [] if PIPELINE.is_prepared else touch(PATHS.prepared),
