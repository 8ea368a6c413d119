"""What people see of an engine at work: built of its events alone, so that no view is in the way of a run."""
