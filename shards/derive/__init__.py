"""Datasets made of others: which samples are chosen, and what is written of them."""
