"""Pages people look at: statistics, plots and listening."""
