"""A paper's reproducibility checklist, answered from records."""
