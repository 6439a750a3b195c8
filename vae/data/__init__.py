"""From streams of shards to batches of crops, with the em under each pixel."""
