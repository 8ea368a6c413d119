"""Backends: how a batch of calls becomes futures."""
