"""What leaves the harness for a paper or for others: the checklist of a study."""
