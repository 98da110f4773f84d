"""Model cards of what was trained, and merged checkpoints with theirs."""
