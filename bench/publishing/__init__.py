"""What others get of a study: bundles of records with everything that was made from them, and their verification."""
