"""How reconstructions are scored."""
