"""What the cluster kinds share: their common settings, pools, TLS and the scheduler of our own."""
