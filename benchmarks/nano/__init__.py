"""nano and tiny through the whole course of train_nano: what half an hour of two cores buys."""
