"""The arithmetic of evaluations: intervals, paired tests, power, agreement and calibration, on numpy alone."""
