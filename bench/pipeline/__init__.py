"""What the Snakefile knows (cells, files, what jobs ask for), and what a job does around its training."""
