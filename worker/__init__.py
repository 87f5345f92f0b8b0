"""Takes jobs from the queue and trains; it never imports the HTTP service."""
