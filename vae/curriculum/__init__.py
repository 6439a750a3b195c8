"""The curriculum: stages of samples, shapes, mixtures and ramps, all pure functions of n."""
