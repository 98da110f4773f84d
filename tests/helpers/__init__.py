"""What several test modules share.

toy_models         models of a few matrices, one for our engine and an equal one for PEFT
trainer_runs       MiniLM under a real Trainer of transformers, trained by the engine
small_cells        real cells with two-layer models, trained in processes that can be killed at a chosen moment
small_models       the files of those two-layer models, in the hub's layout
saved_models       a small backbone with a checkpoint and an adapter that were saved from it
killed_training    a training that was killed with two checkpoints on disk
fixtures           pytest fixtures around small_cells; a conftest.py takes those that its folder needs
records            records, predictions and curves as finished cells leave them, with known effects
results            studies in memory for the statistics: thousands, without files
projects           a copy of workflow/, and real runs of Snakemake on it
clusters           a real Slurm cluster on this machine (cluster.sh starts it)
gpus               a machine with GPUs by a stand-in for NVML, of which nothing but its module is imitated
browser            a headless Chromium
terminals          a real terminal, in which a program runs
disks              a file system of a few kilobytes
"""
