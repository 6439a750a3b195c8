"""What the page looks like: photographs, colours with enough contrast, ink, camera effects."""
