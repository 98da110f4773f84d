"""The ledger of published numbers, results/reference/*.csv, and its audit: copied rows, mixed rows, averages."""
