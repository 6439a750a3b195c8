"""How shards are made exactly once: jobs, workers, quarantine, progress, estimates."""
