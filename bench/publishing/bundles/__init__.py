"""A study as one file that others check and cite."""
