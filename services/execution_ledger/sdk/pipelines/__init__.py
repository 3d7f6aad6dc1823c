"""What pipelines are written with: functions and steps, what they take and give, finding an app."""
