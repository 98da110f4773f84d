# Fetch and tokenize, once a study, where the network is (Slurm: on the login node).
# A refused data set or model ends the run before anything is trained: every cell waits for `prepared`.
localrules:
    prepare_model,
    prepare_data,
    prepared,


rule prepare_model:
    output:
        f"{CACHE}/models/{{model}}/manifest.json",
    log:
        f"{FOLDER}/logs/prepare/{{model}}.log",
    threads: 1
    shell:
        "bench prepare $STUDY --model {wildcards.model} > {log} 2>&1"


rule prepare_data:
    input:
        model=lambda wildcards: PIPELINE.model_of(wildcards.data),
    output:
        f"{CACHE}/data/{{data}}/manifest.json",
    log:
        f"{FOLDER}/logs/prepare/{{data}}.log",
    threads: 1
    shell:
        "bench prepare $STUDY --data {wildcards.data} > {log} 2>&1"


rule prepared:
    input:
        PIPELINE.manifests,
    output:
        touch(PIPELINE.prepared),
