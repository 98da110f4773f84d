"""What a finished cell leaves: `schema` says what is in a record, `io` reads and writes it, `migrations` renews old ones.

`environment` and `slurm` collect what a record says about packages, machine and job.
"""
