"""How many tokens of a row a model reads at the most, for texts and for images."""

from __future__ import annotations

from bench.config.cell import Cell

USUAL_IMAGE_TOKENS = 197  # of an image of 224 x 224 pixels in patches of 16 x 16, and the class token


def longest_source(cell: Cell) -> int:
    """The recipe's max_length, once for each sequence of a row; of an image its patches and the class token."""
    if cell.task.facts.input == "image":
        return cell.backbone.image_tokens or USUAL_IMAGE_TOKENS
    return cell.recipe.max_length * cell.task.sequences_per_row
