"""Generate a resource: models, schemas, service, router, tests and migration."""
