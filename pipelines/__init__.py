"""The verbs: recipes in, shards, checkpoints and reports out. The only package that imports ray."""
