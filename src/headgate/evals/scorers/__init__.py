"""The built-in scorers, one module for each family; the table of their names is `headgate.evals.scorer.SCORERS`."""
