"""The worker: takes jobs from the queue and trains networks. It never imports the HTTP service."""
