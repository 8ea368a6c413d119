"""The one cluster that every Dask contestant starts, in the words of `distributed.LocalCluster`."""

WORKERS = 2
ARGUMENTS = {"n_workers": WORKERS, "threads_per_worker": 1}
LOCAL_CLUSTER = {**ARGUMENTS, "processes": True, "dashboard_address": "127.0.0.1:0"}
