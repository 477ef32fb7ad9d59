"""Model runtimes: bundles of files that are data only, the processes that run them, the checks before they may."""
