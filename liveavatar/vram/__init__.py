"""Memory: what a run will take (`plan`), and what it takes, moment by moment (`watch`)."""
