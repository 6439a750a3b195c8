"""How text becomes glyphs: fonts, masks, the atlas, and where each glyph stands."""
