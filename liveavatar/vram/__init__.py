"""Memory: what a run takes, moment by moment (`watch`)."""
