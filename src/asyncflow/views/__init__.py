"""What people see of an engine at work, and of a run that is over: built of events and journals alone."""
