"""What the page shows of a run: functions of its history."""
