"""What opens, resumes and tracks a training by Lightning."""
