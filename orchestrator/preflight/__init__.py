"""What must hold before a sweep starts: its inputs, its machine, its disk, its memory."""
