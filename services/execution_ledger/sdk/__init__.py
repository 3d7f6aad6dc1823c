"""What users write against: the pipeline decorator, the context, finding an app."""
