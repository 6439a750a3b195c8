"""Tars that other people made: the files inside, as their headers tell."""
