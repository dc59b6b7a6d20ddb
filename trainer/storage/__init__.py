"""Storage of trials: folders on a disk or an object store, and the trial directory in them."""
