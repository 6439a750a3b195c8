"""The verbs: recipes in, shards, checkpoints and reports out. The only package that imports ray."""

import os

# OpenMP reads this as torch is loaded, here and in the processes that we start. By default its
# threads spin for one another at the end of each small loop, on cores that other programs want.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
