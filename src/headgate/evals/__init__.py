"""Evaluations: suites, datasets, scorers, judges, results, the gate. Pure, but for own scorers and the runner."""
