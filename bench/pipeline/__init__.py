"""What the Snakefile knows: the study's cells, where their files stand, and what their jobs ask for."""
