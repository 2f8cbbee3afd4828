"""What follows the source beside the records: tasks that run at intervals and never hold up the copy."""
