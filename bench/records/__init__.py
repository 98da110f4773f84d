"""What a finished cell leaves. `schema` says what is in it, `io` reads and writes it, `migrations` renews old records.

`environment` and `slurm` collect what a record says about packages, machine and job.
"""
