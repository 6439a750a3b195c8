"""From shards to a checkpoint: curriculum, loader, the training loop, what it writes down."""
