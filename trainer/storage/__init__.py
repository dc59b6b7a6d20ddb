"""Where trials are stored: folders on a disk or in an object store, and the trial directory."""
