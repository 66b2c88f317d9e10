"""Background jobs in PostgreSQL, with PgQueuer.

A request enqueues a job in its own transaction. Worker processes run the jobs, each at least once,
and enqueue the tasks that have a schedule.
"""
