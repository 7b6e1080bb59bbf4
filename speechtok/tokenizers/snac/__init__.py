"""SNAC through the package `snac`: codebooks with frame rates of their own."""
