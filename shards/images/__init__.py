"""Images that other people made: what opens each kind, its colours as sRGB, its pixels."""
