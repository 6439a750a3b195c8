"""What training minimises: L1, perceptual distances and the alignment with a frozen teacher."""
