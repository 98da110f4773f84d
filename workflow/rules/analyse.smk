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
        "tables 2>&1 | tee {log}"


rule figures:
    log:
        f"{FOLDER}/logs/figures.log",
    shell:
        "figures 2>&1 | tee {log}"


rule page:
    log:
        f"{FOLDER}/logs/page.log",
    shell:
        "page 2>&1 | tee {log}"


rule views:
    input:
        PIPELINE.records,
    output:
        touch(PIPELINE.views),
    log:
        f"{FOLDER}/logs/views.log",
    shell:
        "(tables && figures && page) 2>&1 | tee {log}"
