"""The `speechtok` command: one short module per sub-command."""
