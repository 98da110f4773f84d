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
        PATHS.view_log("tables"),
    shell:
        "bench tables $STUDY 2>&1 | tee {log}"


rule figures:
    log:
        PATHS.view_log("figures"),
    shell:
        "bench figures $STUDY 2>&1 | tee {log}"


rule page:
    log:
        PATHS.view_log("page"),
    shell:
        "bench page $STUDY 2>&1 | tee {log}"


rule views:
    input:
        PIPELINE.records,
    output:
        touch(PATHS.views),
        report(PATHS.page, caption="../report/page.rst", category="Page"),
        report(
            directory(PATHS.tables),
            patterns=["{table}.html"],
            caption="../report/table.rst",
            category="Tables",
        ),
        report(
            directory(PATHS.figures),
            patterns=["{figure}.png"],
            caption="../report/figure.rst",
            category="Figures",
        ),
    log:
        PATHS.view_log("views"),
    shell:
        "(bench tables $STUDY && bench figures $STUDY && bench page $STUDY) 2>&1 | tee {log}"
