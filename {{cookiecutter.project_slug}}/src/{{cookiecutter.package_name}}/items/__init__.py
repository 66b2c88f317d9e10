"""A sample resource: owned by a user, tagged, paged, filtered, versioned."""
