"""Tools around a run: plans, explanations, comparisons, datasets, imports and checks."""
