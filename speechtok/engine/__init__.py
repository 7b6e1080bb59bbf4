"""The engine of jobs: plan, executors, isolation, observers and settings."""
