"""A trained model at work: tiles without seams, memory, latents, diffusers and ONNX."""
