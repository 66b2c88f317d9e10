"""The sample resource, made to be copied: owned by a user, tagged, paged, filtered, versioned."""
