"""How metrics, statuses and budgets are written."""

from __future__ import annotations

from bench.config.budget import Budget

METRIC_NAMES = {
    "accuracy": "accuracy", "mcc": "MCC", "f1": "F1", "pearson": "Pearson r", "spearman": "Spearman ρ",
    "mean_correlation": "mean of r and ρ",
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
    "exact_match": "exact match", "no_label": "no label",
}  # fmt: skip
LOWER_IS_BETTER = frozenset({"no_label"})
WORDS = {"oom": "OOM", "diverged": "diverged", "failed": "failed"}
MIB = 1024**2


def budget_text(name: str, budget: Budget) -> str:
    """'small (rank 2)' or 'small (82,944 parameters)'."""
    if budget.rank is not None:
        return f"{name} (rank {budget.rank:g})"
    return f"{name} ({budget.parameters:,} parameters)"


def probability(p: float | None) -> str:
    """Three decimals; what is smaller is written as < 0.001."""
    if p is None:
        return "—"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
