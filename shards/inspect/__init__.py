"""Looking into data sets: the commands of `nonpareil shards`, and what they count and draw."""
