"""Programs that stand in for OpenPBS and LSF, and the server behind them.

They run as ``python -I -S`` with this package's parent on the path, so that a command starts in some 30 ms: they need
nothing but the standard library, import each other as siblings, and never asyncflow.
"""
