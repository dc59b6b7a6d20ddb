"""The numbers of a comparison: honest scores, intervals, tests, speed-ups, the frontier."""
