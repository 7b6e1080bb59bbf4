"""Jobs: corpus → plan → shards → commit, on Ray or in this process."""
