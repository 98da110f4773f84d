"""The sections of a card: scores with their spread, ranks, recipe, data, licenses. Each is Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean

from bench.analysis.stats.mean_interval import MIN_SEEDS, half_width
from bench.analysis.wording import DASH, budget_text, count_text, direction_notes, with_minus_signs
from bench.config.cell import Cell
from bench.publishing.cards.metadata import hub_metric
from bench.publishing.cards.subjects import Subject
from bench.records.schema import SiteRank

NOT_RECORDED = "not recorded"
OPTIMIZERS = {"adamw": "AdamW", "adamw8bit": "AdamW with moments in 8 bits"}


def scores_section(subject: Subject) -> str:
    """Each score of this cell with its n, and the mean of its group with a 95% interval over the seeds."""
    rows, several = [], len(subject.group) > 1
    for split, metric, value in subject.scores:
        hub = hub_metric(metric, subject.cell.task.kind)
        digits = 2 if hub.factor > 1 else 4
        group = [one * hub.factor for one in subject.values_of_group(split, metric)]
        n = subject.rows.get(split)
        own = "undefined" if value is None else _number(value * hub.factor, digits)
        over_seeds = [_number(mean(group), digits) if group else DASH, _interval(group, digits)] if several else []
        name = subject.cell.task.metric_facts(metric).marked_name(hub.name)
        rows.append([split, name, own, DASH if n is None else count_text(n), *over_seeds])
    spread = [f"mean of {_seeds(len(subject.group))}", "95% interval"] if several else []
    header = ["split", "metric", f"this one (seed {subject.cell.seed})", "n", *spread]
    metrics = [subject.cell.task.metric_facts(metric) for _, metric, _ in subject.scores]
    notes = [*direction_notes(metrics, differences=False), _about_the_interval(subject)]
    return f"## Scores\n\n{_table(header, rows)}\n\n{' '.join(notes)}"


def _interval(scores: Sequence[float], digits: int) -> str:
    half = half_width(scores)
    if half is None:
        return DASH
    return f"[{_number(mean(scores) - half, digits)}, {_number(mean(scores) + half, digits)}]"


def _about_the_interval(subject: Subject) -> str:
    seeds, planned = len(subject.group), subject.seeds_planned
    missing = f" of {planned}" if planned is not None and planned > seeds else ""
    step = "the best step on held-out rows" if subject.record.selection == "best" else "the last step"
    before = ", before the merge" if subject.form == "merged" else ""
    text = f"Scores are those of {step}{before}; n counts rows. "
    if seeds < MIN_SEEDS:
        return (
            f"{text}There is no interval over seeds: {_seeds(seeds)}{missing} of this task, method and budget "
            f"{'is' if seeds == 1 else 'are'} recorded, and it takes {MIN_SEEDS}."
        )
    return (
        f"{text}The interval is that of the mean over {_seeds(seeds)}{missing} of this task, method and budget, by "
        "Student's t. It is the spread of trainings on the same rows; it does not hold what other rows would add."
    )


def ranks_section(subject: Subject) -> str:
    """How many ranks each matrix ended with, a column per layer where they differ; empty where all is trained."""
    cell, record = subject.cell, subject.record
    if cell.method.adapter == "full" or record.parameters is None:
        return ""
    counts = record.parameters
    text = f"{count_text(counts.adapter_end)} parameters in the adapter, {count_text(counts.head)} in the head."
    if not record.ranks:
        return f"## Adapter\n\n{text}"
    budget = f"Budget {budget_text(cell.budget_name, cell.budget)}: {count_text(counts.budget.used)} "
    budget += f"{counts.budget.unit} kept of {count_text(counts.budget.limit)}."
    tables = "\n\n".join(_ranks_of_stack(stack, sites) for stack, sites in _by_stack(record.ranks).items())
    return f"## Ranks\n\n{budget} {text}\n\n{tables}"


def _by_stack(ranks: Mapping[str, SiteRank]) -> dict[str, dict[str, SiteRank]]:
    stacks: dict[str, dict[str, SiteRank]] = {}
    for name, rank in sorted(ranks.items(), key=lambda item: -1 if item[1].index is None else item[1].index):
        stacks.setdefault(rank.stack, {})[name] = rank
    return stacks


def _ranks_of_stack(stack: str, sites: Mapping[str, SiteRank]) -> str:
    """A row per matrix of a layer, by its path in the layer, since a decoder has two that end alike."""
    by_matrix: dict[str, dict[int | None, int]] = {}
    for name, rank in sites.items():
        matrix = name.removeprefix(f"{stack}.{rank.layer}.") if rank.layer is not None else name
        by_matrix.setdefault(matrix, {})[rank.layer] = rank.end
    layers = list(dict.fromkeys(rank.layer for rank in sites.values()))
    uniform = all(len(set(of_layers.values())) == 1 for of_layers in by_matrix.values())
    if uniform and len(layers) > 1:
        header = [stack, f"each of {len(layers)} layers"]
        return _table(header, [[matrix, str(next(iter(found.values())))] for matrix, found in by_matrix.items()])
    header = [stack or "matrix", *("rank" if layer is None else str(layer) for layer in layers)]
    rows = [[matrix, *(str(found.get(layer, DASH)) for layer in layers)] for matrix, found in by_matrix.items()]
    return _table(header, rows)


def recipe_section(subject: Subject) -> str:
    """What decided the training, as a table of two columns."""
    cell, record = subject.cell, subject.record
    recipe = cell.recipe
    steps = record.training.steps if record.training else None
    rows = [
        ("storage of the base", cell.method.storage),
        ("learning rate", f"{recipe.learning_rate:g}{_chosen(cell)}"),
        ("optimizer steps", DASH if steps is None else count_text(steps)),
        ("rows per step", _batch(cell)),
        ("warm-up, then", DASH if steps is None else f"{recipe.warmup_at(steps)} steps, then {recipe.decay}"),
        ("optimizer", f"{OPTIMIZERS[recipe.optimizer]}, betas {recipe.adam_betas[0]:g} and {recipe.adam_betas[1]:g}"),
        ("weight decay", f"{recipe.weight_decay:g}"),
        ("largest norm of the gradient", "none" if recipe.gradient_clip is None else f"{recipe.gradient_clip:g}"),
        ("largest length", f"{recipe.max_length} tokens" if cell.task.facts.input == "text" else ""),
    ]
    if cell.method.adapter != "full":
        scale = f"alpha {recipe.alpha:g}" if recipe.scale is None else f"{recipe.scale:g}"
        rows += [("scale of the adapter", scale), ("dropout of the adapter", f"{recipe.adapter_dropout:g}")]
    if cell.method.prunes and steps is not None:
        phases = recipe.rank_schedule_at(steps)
        schedule = f"{phases.initial_steps} steps at the initial ranks, {phases.final_steps} at the final ones, pruned "
        rows.append(("rank schedule", f"{schedule}every {phases.interval}"))
    if cell.method.regularized:
        rows.append(("weight of the orthogonality", f"{recipe.orthogonality:g}"))
    rows.append(("seed", str(cell.seed)))
    return f"## Recipe\n\n{_table(['', ''], [list(row) for row in rows if row[1]])}"


def _batch(cell: Cell) -> str:
    parts = cell.recipe.micro_batches
    return str(cell.recipe.batch_size) + (f", in {parts} micro-batches" if parts > 1 else "")


def _chosen(cell: Cell) -> str:
    if cell.choice is None or "learning_rate" not in cell.choice.values:
        return ""
    trials = len(cell.choice.trials)
    return f", chosen by {cell.choice.by} on held-out training rows" + (f" in {trials} trials" if trials else "")


def data_section(subject: Subject) -> str:
    """Which rows it was trained on."""
    task, recorded, choice = subject.cell.task, subject.record.data, subject.cell.data
    if subject.synthetic:
        source = f"Generated rows (`{task.data.embedded}`), which imitate the task `{task.name}`"
    elif task.data.hub:
        config = f", configuration `{task.data.config}`" if task.data.config else ""
        source = f"`{task.data.hub}`{config}, split `{task.data.train}`"
        source += f", revision `{recorded['revision']}`" if recorded.get("revision") else ""
    else:
        source = f"{task.label}: {'a data set of scikit-learn' if task.data.installed else 'local files'}"
    limit = f"; at most {count_text(choice.train_rows)} rows" if choice.train_rows else ""
    fingerprint = f"Fingerprint of the prepared rows: `{str(recorded.get('fingerprint', NOT_RECORDED))[:16]}`."
    return f"## Data\n\n{source}{limit}. {fingerprint}"


def license_section(subject: Subject) -> str:
    """The licenses of what it was made from. Which one the adapter is published under is its publisher's to say."""
    cell = subject.cell
    base = cell.backbone.license or NOT_RECORDED
    lines = [f"- base `{cell.backbone.hub_name or cell.backbone.name}`: {base}"]
    if subject.synthetic:
        lines.append("- data: generated rows, no data set")
    else:
        lines.append(f"- data `{cell.task.data.hub or cell.task.name}`: {cell.task.license or NOT_RECORDED}")
    return "## License\n\nOf what it was made from:\n\n" + "\n".join(lines)


def _seeds(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"


def _number(value: float, digits: int) -> str:
    return with_minus_signs(f"{value:z.{digits}f}")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
