# Fetch and tokenize, once a study, where the network is (Slurm: on the login node).
# A refused data set or model ends the run before anything is trained: every cell waits for `prepared`.
localrules:
    prepare_model,
    prepare_data,
    prepared,


rule prepare_model:
    output:
        CACHED.model_manifest("{model}"),
    log:
        PATHS.prepare_log("{model}"),
    threads: 1
    shell:
        "bench prepare $STUDY --model {wildcards.model} > {log} 2>&1"


rule prepare_data:
    input:
        model=lambda wildcards: PIPELINE.model_of(wildcards.data),
    output:
        CACHED.data_manifest("{data}"),
    log:
        PATHS.prepare_log("{data}"),
    threads: 1
    shell:
        "bench prepare $STUDY --data {wildcards.data} > {log} 2>&1"


rule prepared:
    input:
        PIPELINE.manifests,
    output:
        touch(PATHS.prepared),
