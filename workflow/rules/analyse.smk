# Views of the records. `tables`, `figures` and `page` make them from the records that exist and train nothing;
# `views` makes all three once every cell is done.
localrules:
    all,
    records,
    tables,
    figures,
    page,
    views,


rule tables:
    log:
        f"{FOLDER}/logs/tables.log",
    shell:
        "bench tables $STUDY 2>&1 | tee {log}"


rule figures:
    log:
        f"{FOLDER}/logs/figures.log",
    shell:
        "bench figures $STUDY 2>&1 | tee {log}"


rule page:
    log:
        f"{FOLDER}/logs/page.log",
    shell:
        "bench page $STUDY 2>&1 | tee {log}"


rule views:
    input:
        PIPELINE.records,
    output:
        touch(PIPELINE.views),
    log:
        f"{FOLDER}/logs/views.log",
    shell:
        "(bench tables $STUDY && bench figures $STUDY && bench page $STUDY) 2>&1 | tee {log}"
