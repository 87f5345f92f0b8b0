"""/v1: one router a resource; an endpoint translates and a service decides."""
