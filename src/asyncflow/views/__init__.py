"""Ways to see what goes on in a run, and what went on."""
