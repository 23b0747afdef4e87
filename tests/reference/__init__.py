"""Independent float64 NumPy implementations, written from the formulas and not from the code they judge."""
