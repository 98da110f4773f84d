"""What others get of a study: bundles of records with what was made from them, and the checklist of a paper."""
