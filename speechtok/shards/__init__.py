"""Token datasets on disk: schema, plan, shards, checks. The door to pyarrow; starts without torch."""
