"""Token files of other toolkits: read and written as those toolkits do."""
