"""A random graph of tasks under random faults, and whether each ended as a serial run says: ``make chaos``."""
