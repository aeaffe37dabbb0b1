"""Programs that measure speed and memory, for developers."""
