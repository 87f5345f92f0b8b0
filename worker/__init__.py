"""The worker process: takes jobs from the queue and trains networks. It does not import the HTTP service."""
