"""What trials decide: `choose` finds the point with which a group is trained, from the records of its trials."""
