"""A sample resource to copy: owned by a user, tagged, paged, filtered, versioned."""
