"""The worker jobs that both contestants over Slurm ask for, in dask-jobqueue's words."""

JOBS = 2
KEYS = {"queue": "debug", "cores": 1, "memory": "1GB", "walltime": "00:30:00", "interface": "lo"}
