"""Time and memory of `bench prepare` against the number of rows.

    python benchmarks/prepare.py [--rows 1000,6000,50000] [--mirror DIR] [--json]

The rows are news articles, repeated up to that number: those of CNN/DailyMail in a mirror, or generated ones of the
same length. Sources have up to 1,024 tokens, targets up to 160. The tokenizer is that of the backbone tiny-t5, whose
model is prepared first and not measured. Each preparation is a process of its own; its peak includes the libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet

from bench.inputs import synthetic

PLACE = "datasets/abisee/cnn_dailymail/3.0.0"
NAMES = {split: f"{split}-00000-of-00001.parquet" for split in ("train", "validation")}
CHARACTERS = 4000  # of a generated article, about as many as CNN/DailyMail has
CHOSEN = (
    "tasks=[cnn_dailymail]",
    "backbones.summarization=tiny-t5",
    "limits.train_rows=null",
    "overrides.cnn_dailymail.recipe.max_length=1024",
    "overrides.cnn_dailymail.recipe.max_target_length=160",
)


def articles(mirror: Path | None) -> pyarrow.Table:
    """Articles and their summaries, some hundreds."""
    if mirror is not None:
        return pyarrow.parquet.read_table(mirror / PLACE / NAMES["train"], columns=["article", "highlights"])
    rows = synthetic.rows("articles", "train")
    texts = [text for (text,) in rows.texts]
    per_article = CHARACTERS * len(texts) // sum(map(len, texts))
    joined = [" ".join(texts[i : i + per_article]) for i in range(0, len(texts) - per_article, 2)]
    return pyarrow.table({"article": joined, "highlights": rows.targets[: len(joined)]})


def write_mirror(folder: Path, table: pyarrow.Table, rows: int) -> None:
    """A mirror whose training split has so many rows in one file, and whose validation split has 100."""
    (folder / PLACE).mkdir(parents=True)
    with pyarrow.parquet.ParquetWriter(folder / PLACE / NAMES["train"], table.schema) as writer:
        for start in range(0, rows, len(table)):
            writer.write_table(table.slice(0, rows - start))
    pyarrow.parquet.write_table(table.slice(0, 100), folder / PLACE / NAMES["validation"])


def prepare(mirror: Path, folder: Path, *options: str) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of one `bench prepare`. Raises SystemExit if it fails."""
    words = ["bench", "prepare", "mirror", "--mirror", str(mirror), "--results", str(folder), *options]
    began = time.perf_counter()
    process = subprocess.Popen([*words, *(word for value in CHOSEN for word in ("--set", value))])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"failed: {' '.join(words)}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000,6000,50000")
    parser.add_argument("--mirror", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    table, figures = articles(arguments.mirror), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_mirror(folder / "first", table, 10)
        prepare(folder / "first", folder / "results")  # the model
        for rows in map(int, arguments.rows.split(",")):
            write_mirror(folder / str(rows), table, rows)
            seconds, peak = prepare(folder / str(rows), folder / "results")
            figures.append({"rows": rows, "seconds": round(seconds, 1), "peak_mib": round(peak)})
            if not arguments.json:
                print(f"{rows:>8,} rows: {seconds:7.1f} s, peak {peak:6.0f} MiB", flush=True)
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
