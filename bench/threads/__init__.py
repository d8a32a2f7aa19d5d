"""What threads and shared memories give and cost."""
