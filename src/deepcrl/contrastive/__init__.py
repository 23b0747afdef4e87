"""Contrastive learning: energies, losses, diagnostics. Arrays in, arrays out."""
