# Views of the records. The rules `tables`, `figures` and `page` make them from the records that exist, and train nothing;
# `views` makes all three once every cell is recorded, and a card beside every adapter.
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
        "bench tables $BENCH_STUDY 2>&1 | tee -- {log:q}"


rule figures:
    log:
        PATHS.view_log("figures"),
    shell:
        "bench figures $BENCH_STUDY 2>&1 | tee -- {log:q}"


rule page:
    log:
        PATHS.view_log("page"),
    shell:
        "bench page $BENCH_STUDY 2>&1 | tee -- {log:q}"


rule views:
    input:
        PIPELINE.records,
        PIPELINE.tuned,
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
        "(bench tables $BENCH_STUDY && bench figures $BENCH_STUDY && bench page $BENCH_STUDY"
        " && bench cards $BENCH_STUDY) > {log:q} 2>&1"
