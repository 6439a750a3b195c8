"""The trainer on a GPU: whether a step is right, how fast it is, what it takes, what is learned."""
