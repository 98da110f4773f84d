"""What others get of a study: bundles of records, model cards, uploads to the hub, the checklist of a paper."""
