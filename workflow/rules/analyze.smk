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
        report(f"{FOLDER}/report.html", caption="../report/page.rst", category="Page"),
        report(
            directory(f"{FOLDER}/tables"),
            patterns=["{table}.html"],
            caption="../report/table.rst",
            category="Tables",
        ),
        report(
            directory(f"{FOLDER}/figures"),
            patterns=["{figure}.png"],
            caption="../report/figure.rst",
            category="Figures",
        ),
    log:
        f"{FOLDER}/logs/views.log",
    shell:
        "(bench tables $STUDY && bench figures $STUDY && bench page $STUDY) 2>&1 | tee {log}"
